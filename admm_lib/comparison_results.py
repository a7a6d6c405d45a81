"""What the record of a whole comparison says: accuracies, paired differences, who is ahead of ADMM."""

from collections.abc import Sequence
from pathlib import Path

from . import files
from .comparison import FIELDS_OF_RECORD, HOME, Record, points
from .records import Interval, interval

OURS = ("admm", "admm-rate")  # ADMM with its rho tuned, and with its rate tuned


def result(name: str, folder: Path | None = None) -> Record:
    """The record of a comparison. FileNotFoundError where there is none; ValueError where points of it are
    missing: what is shown of a comparison is all of it.
    """
    path = (folder or HOME) / f"{name}.json"
    command = f"`admm compare data/comparison/{name}.yaml`"
    if not path.exists():
        raise FileNotFoundError(f"no record of the comparison {name!r}: {command}")
    record = files.read_json(path, FIELDS_OF_RECORD)
    found = record["comparison"]
    done = {(row["seed"], row["way"], row["at"]) for row in record["runs"]}
    wanted = {(seed, *point) for seed in found["seeds"] for point in points(found)}
    if left := wanted - done:
        raise ValueError(f"{path.name} lacks {len(left)} of {len(wanted)} runs: run it to its end, {command}")
    return record


def accuracies(record: Record, way: str, at: str) -> dict[int, float]:
    """Test accuracy in percent by seed, of the seeds of the comparison."""
    found = {row["seed"]: row["test"] for row in record["runs"] if (row["way"], row["at"]) == (way, at)}
    return {seed: found[seed] for seed in record["comparison"]["seeds"]}


def difference(record: Record, way: str, other: str, at: str) -> Interval:
    """The interval of `way` minus `other` in points of test accuracy, over pairs from one dense network."""
    ours, theirs = (accuracies(record, each, at) for each in (way, other))
    return interval([ours[seed] - theirs[seed] for seed in ours])


def verdict(found: Sequence[Interval], arms: Sequence[str] = ("rho", "rate")) -> str:
    """How a way stands beside the arms of ADMM, by its difference from each.

    "ahead" or "behind" where every interval lies on that side of zero, "level" where every one holds it: not
    told apart. Where the arms differ, the sides of those that it is told from, such as "ahead of rho, behind
    rate".
    """
    sides = ["ahead" if each.low > 0 else "behind" if each.high < 0 else "level" for each in found]
    if len(set(sides)) == 1:
        return sides[0]
    words = {"ahead": "ahead of", "behind": "behind"}
    return ", ".join(f"{words[side]} {arm}" for side, arm in zip(sides, arms, strict=True) if side in words)


def against_admm(record: Record, at: str) -> dict[str, list[Interval]]:
    """For every other way at a budget, the differences from each arm of ADMM, in the order of `OURS`."""
    ways = [way for way, there in points(record["comparison"]) if there == at]
    return {way: [difference(record, way, each, at) for each in OURS] for way in ways if way not in OURS}
