"""Trials of a recipe with some fields changed, one or a grid of them, to choose by: validation images only.

A trial is no record: the test images are not read, and seeds below 100, which tune, are welcome. Trials run
side by side through joblib, on this machine or, with Dask's scheduler, on others that see the same folders.
"""

import hashlib
import itertools
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import joblib

from . import codec, data, files, pipelines, recipes, records, storage
from .evaluation import evaluate
from .stages import Report

FOLDER = Path("build/trials")
TRIES = 2  # of a point, before it is reported as failed
Row = dict[str, Any]


def trial(
    path: str | Path, seed: int, changes: Mapping[str, Any] | None = None, profile: str = "paper",
    home: Path = FOLDER, report: Report = pipelines.silent, resume: bool = True,
) -> Row:  # fmt: skip
    """Train and compress by a changed recipe; the file, its bytes, and accuracy on validation images.

    Stages that were trained before, by whatever recipe begins alike, are fetched from `home`/cache, unless
    told not to `resume`. Raises ValueError for a recipe that is not in order.
    """
    began, recipe = time.monotonic(), recipes.read(path, changes, profile)
    images = data.load(recipe["dataset"])
    with nullcontext(home) if resume else TemporaryDirectory() as place:
        trained, _ = pipelines.train(recipe, seed, images, report, Path(place))
    model = pipelines.compressed(recipe, trained, images)
    file = home / "models" / f"{recipe['name']}-seed{seed}.admm"
    file.parent.mkdir(parents=True, exist_ok=True)
    codec.save(model, file)
    decoded = pipelines.network(recipe, file)
    ladder = storage.ladder(decoded)
    return {
        "recipe": recipe["name"], "of": _told(recipe), "seed": seed, "changes": dict(changes or {}),
        "profile": profile,
        "val_accuracy": round(evaluate(decoded, images.val).accuracy, 4),
        "dense_val_accuracy": round(evaluate(trained[0].network, images.val).accuracy, 4),
        "weights": ladder.weights, "nonzero_weights": ladder.nonzero_weights,
        "file": str(file), "file_bytes": file.stat().st_size,
        "dataset": images.name, "seconds": round(time.monotonic() - began, 1),
        "commit": records.provenance()["commit"],
    }  # fmt: skip


def grid(axes: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Every combination of the values of all paths, the last path moving fastest."""
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def run(
    path: str | Path, axes: Mapping[str, Sequence[Any]], seeds: Iterable[int] = (0,), *,
    profile: str = "paper", home: Path = FOLDER, jobs: int = 1, scheduler: str | None = None,
    report: Report = pipelines.silent,
) -> list[Row]:  # fmt: skip
    """The trials of a grid at each seed, those of earlier calls included; failed ones have an `error`.

    They are kept in `home`/NAME.jsonl, which is replaced as a whole after each trial, so that a killed sweep
    goes on where it stopped; a trial that failed is tried again, `TRIES` times in a call. `jobs` run at
    once, on this machine or on the workers of Dask's `scheduler`, as tcp://host:8786. Raises ValueError,
    before any work, for a point whose recipe is not in order, and where Dask is asked for and missing.
    """
    points = [(seed, changes) for changes in grid(axes) for seed in seeds]
    wanted = [
        _key({"of": _told(recipes.read(path, changes, profile)), "seed": seed, "changes": changes,
              "profile": profile})
        for seed, changes in points
    ]  # fmt: skip
    home.mkdir(parents=True, exist_ok=True)
    kept = log(home, path)
    found = {_key(row): row for row in results(kept)}
    if before := sum(key in found and "error" not in found[key] for key in wanted):
        report(f"{before} of {len(wanted)}: done by an earlier call")
    with _workers(jobs, scheduler) as parallel:
        for _ in range(TRIES):
            left = [
                point for point, key in zip(points, wanted, strict=True)
                if key not in found or "error" in found[key]
            ]  # fmt: skip
            tasks = (joblib.delayed(_attempt)(path, *point, profile, home) for point in left)
            for row in parallel(tasks) if left else ():
                with files.locked(kept):  # others may run trials of the recipe
                    found = {_key(each): each for each in results(kept)} | {_key(row): row}
                    _write(kept, found.values())
                done = sum(key in found and "error" not in found[key] for key in wanted)
                report(f"{done} of {len(wanted)}: {said(row)}")
    return [found[key] for key in wanted]


def log(home: Path, path: str | Path) -> Path:
    """Where the trials of a recipe's sweeps are kept."""
    return home / f"{Path(path).stem}.jsonl"


def results(kept: Path) -> list[Row]:
    """The trials in such a file, oldest first; none where there is no file. ValueError for a damaged one."""
    if not kept.exists():
        return []
    try:
        rows = [json.loads(line) for line in kept.read_text(encoding="utf-8").splitlines()]
        for row in rows:
            _key(row)
        return rows
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"{kept} is damaged ({error}): move it away to start the sweep anew") from None


def _attempt(path: str | Path, seed: int, changes: dict[str, Any], profile: str, home: Path) -> Row:
    """A trial whose failure is a row as well, so that one bad point does not end a sweep."""
    try:
        return trial(path, seed, changes, profile, home)
    except Exception as error:
        of = _told(recipes.read(path, changes, profile))
        point = {"recipe": Path(path).stem, "of": of, "seed": seed, "changes": changes, "profile": profile}
        return point | {"error": f"{type(error).__name__}: {error}"}


def _told(recipe: recipes.Recipe) -> str:
    """What tells a recipe from what it was before it was edited."""
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]


def _key(row: Row) -> str:
    """Rows of earlier versions do not say of which recipe they are, and are run again."""
    return json.dumps([row.get("of"), row["seed"], row["changes"], row["profile"]], sort_keys=True)


def _write(kept: Path, rows: Iterable[Row]) -> None:
    with files.replaced(kept) as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows).encode())


def said(row: Row) -> str:
    """One line on a trial."""
    point = " ".join([f"seed {row['seed']}", *(f"{name}={value}" for name, value in row["changes"].items())])
    if "error" in row:
        return f"{point}: failed, {row['error']}"
    return f"{point}: {row['val_accuracy']:.2f}% of validation images, {row['file_bytes']:,} bytes"


def table(rows: Sequence[Row]) -> str:
    """The trials that ended, the most accurate first, as text; of equal ones the smaller file."""
    head = f"{'val %':>7}{'minus dense':>13}{'nonzero':>11}{'bytes':>11}{'seed':>6}  changes"
    ended = [row for row in rows if "error" not in row]
    lines = [
        f"{row['val_accuracy']:>7.2f}{row['val_accuracy'] - row['dense_val_accuracy']:>+13.2f}"
        f"{row['nonzero_weights']:>11,}{row['file_bytes']:>11,}{row['seed']:>6}  "
        + " ".join(f"{name}={value}" for name, value in row["changes"].items())
        for row in sorted(ended, key=lambda row: (-row["val_accuracy"], row["file_bytes"]))
    ]
    return "\n".join([head, *lines])


@contextmanager
def _workers(jobs: int, scheduler: str | None) -> Iterator[joblib.Parallel]:
    """What runs tasks and hands over each result as soon as it is there."""
    where = nullcontext()
    if scheduler is not None:
        try:
            from distributed import Client
        except ImportError:
            raise ValueError("a scheduler needs Dask: pip install 'admm-lib[cluster]'") from None
        client = Client(scheduler)
        where = joblib.parallel_config("dask", wait_for_workers_timeout=60)
    try:
        with where:
            yield joblib.Parallel(n_jobs=jobs if scheduler is None else -1, return_as="generator_unordered")
    finally:
        if scheduler is not None:
            client.close()
