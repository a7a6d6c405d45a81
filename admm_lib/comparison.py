"""Ways of pruning compared under one protocol, data/comparison/NAME.yaml; the record is NAME.json beside it.

Each way's one number is tuned first, on validation images of the tuning seed. When all are, every way prunes
the dense network of each final seed, and each network reads the test images once, when it is made. Several
processes may share the work.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

from filelock import FileLock, Timeout
from torch import nn

from . import data, files, groups, models, pipelines, records, stage_files
from .allocation import prunable
from .constraints import Sparse
from .evaluation import evaluate
from .names import resolve
from .pruning_ways import WAYS, Task, Way
from .recipe_stages import Stage
from .recipes import CHOICES
from .shrink import shrink
from .stages import Report, Runner

HOME = data.HOME / "comparison"
EXTENSIONS = 4  # of a grid whose best value is at its end
PLAN = ("title", "seeds", "budgets", "tuned_at", "arms")  # what a comparison may add later
FIELDS = {
    "name": str, "title": str, "model": str, "dataset": str, "images": int, "tuning_seed": int, "seeds": list,
    "batch_size": int, "precision": str, "shift_pixels": int, "dense": dict, "phases": list, "rate": float,
    "lr": float, "budgets": dict, "tuned_at": dict, "arms": list, "by": str,
}  # fmt: skip
DEFAULTS = {"by": "element"}
FIELDS_OF_RECORD = {"comparison": dict, "tuned": list, "runs": list}
Comparison = dict[str, Any]
Record = dict[str, Any]


def read(path: str | Path) -> Comparison:
    """A comparison, checked. Raises ValueError naming the file and the problem."""
    return DEFAULTS | files.read_checked(Path(path), _problems)


def _problems(found: Any, stem: str) -> Iterator[str]:
    """What is wrong; each line may rely on the ones before it being in order."""
    found = DEFAULTS | found if isinstance(found, dict) else {}
    if {name: type(each) for name, each in found.items()} != FIELDS:
        yield f"a comparison has the fields {', '.join(FIELDS)}, each of its type; by, a view, may be missing"
    if found["name"] != stem:
        yield f"name must be the file's, {stem}"
    seeds = found["seeds"]
    if any(type(each) is not int for each in seeds) or len(set(seeds)) < len(seeds):
        yield "seeds are whole numbers, each of them once"
    if found["tuning_seed"] in seeds or not seeds:
        yield "seeds are one or more, and the tuning seed is none of them"
    if found["dense"].keys() != {"epochs", "lr"}:
        yield "dense has epochs and lr"
    if found["precision"] not in CHOICES["precision"] or found["shift_pixels"] < 0:
        yield f"precision is one of {', '.join(CHOICES['precision'])}, and shift_pixels 0 or more"
    groups.check_view(found["by"])
    counts = (found["images"], found["batch_size"], found["dense"]["epochs"], *found["phases"])
    if len(found["phases"]) != 2 or any(type(each) is not int or each < 1 for each in counts):
        yield "images, batch_size, epochs and the two phases are counts, 1 or more"
    if any(not 0 < rate < math.inf for rate in (found["rate"], found["lr"], found["dense"]["lr"])):
        yield "rates are positive"
    yield from _misfit(found)


def _misfit(found: Comparison) -> Iterator[str]:
    """What is wrong with budgets and arms."""
    network, by = models.outline(found["model"]), found["by"]
    for at, keep in found["budgets"].items():
        for name, count in keep.items():
            size = groups.count(getattr(*resolve(network, name)).shape, by)
            if type(count) is not int or not 0 < count <= size:
                yield f"{at}: {name} keeps 1 to {size} {Sparse(keep=0, by=by).things}, not {count}"
        if left := prunable(network).keys() - keep.keys():
            yield f"{at} has no budget for {', '.join(sorted(left))}"
    if found["tuned_at"].keys() != found["budgets"].keys():
        yield "tuned_at says for every budget at which one its numbers are tuned"
    if odd := set(found["tuned_at"].values()) - found["budgets"].keys():
        yield f"tuned_at names {sorted(odd)[0]}, which is no budget"
    for arm in found["arms"]:
        if odd := set(arm["ways"]) - WAYS.keys():
            yield f"{sorted(odd)[0]} is no way: {', '.join(WAYS)}"
        if odd := [way for way in arm["ways"] if WAYS[way].only not in (None, by)]:
            yield f"{odd[0]} prunes by {WAYS[odd[0]].only}, not by {by}"
        if odd := set(arm["at"]) - found["budgets"].keys():
            yield f"{sorted(odd)[0]} is no budget: {', '.join(found['budgets'])}"
    there = points(found)
    for way, at in there:
        if (way, found["tuned_at"][at]) not in there:
            yield f"{way} is tuned at {found['tuned_at'][at]}, which it does not have"


def _protocol(found: Comparison) -> Comparison:
    """What every row of a record rests on."""
    return {name: value for name, value in (DEFAULTS | found).items() if name not in PLAN}


def _goes_on(record: Record, found: Comparison) -> bool:
    """Whether the rows of a record are the comparison's, which may have more ways and budgets by now; as long
    as no final run is recorded, fewer, and other seeds, too.
    """
    old = record["comparison"]
    if _protocol(old) != _protocol(found):
        return False
    if record["runs"] and (old["seeds"] != found["seeds"] or not set(points(old)) <= set(points(found))):
        return False  # who sees what comes out must not choose
    common = old["budgets"].keys() & found["budgets"].keys()
    return all(old[each][at] == found[each][at] for each in ("budgets", "tuned_at") for at in common)


def points(found: Comparison) -> list[tuple[str, str]]:
    """Every (way, budget), in order."""
    return [(way, at) for arm in found["arms"] for at in arm["at"] for way in arm["ways"]]


def run(
    path: str | Path,
    seeds: Iterable[int] | None = None,
    report: Report = pipelines.silent,
    folder: Path | None = None,
) -> None:
    """Tune every way, then run all at the final seeds, or at those of them in `seeds`.

    What is recorded is skipped, and what another process is at is left to it. The record goes to `folder`,
    by default beside the comparisons. Raises ValueError for a comparison that is not in order, a seed that is
    none of its own, and a record that another one of that name has made.
    """
    found = read(path)
    chosen = pipelines.final_seeds(found, seeds)
    work = _Work(found, (folder or HOME) / f"{found['name']}.json", report)
    tuned = dict.fromkeys((way, found["tuned_at"][at]) for way, at in points(found))
    for way, at in tuned:
        work.alone(f"tune-{way}-{at}", lambda way=way, at=at: work.tuned(way, at))
    for way, at in tuned:
        work.value(way, at)  # nobody reads a test image while another process is still tuning
    for seed in chosen:
        for way, at in points(found):
            work.alone(f"{seed}-{way}-{at}", lambda seed=seed, way=way, at=at: work.final(seed, way, at))


class _Work:
    """What is to be done for one record, and what is done."""

    def __init__(self, found: Comparison, target: Path, report: Report) -> None:
        self.found, self.target, self.report = found, target, report
        whole = data.load(found["dataset"])
        if found["images"] > len(whole.train):
            raise ValueError(f"{found['name']}: there are {len(whole.train):,} training images: lower images")
        self.images = replace(whole, train=whole.train.subset(found["images"]))
        text = json.dumps(_protocol(found), sort_keys=True)
        self.cache = files.cache_folder() / f"comparison-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
        self.cache.mkdir(parents=True, exist_ok=True)
        self.record()

    def record(self) -> Record:
        """The record so far; ValueError where it was made by another comparison of that name."""
        if not self.target.exists():
            return {"comparison": self.found, "tuned": [], "runs": []}
        record = files.read_json(self.target, FIELDS_OF_RECORD)
        if not _goes_on(record, self.found):
            raise ValueError(
                f"the record {self.target.name} was made by another comparison: rename this one, or delete it"
            )
        return {**record, "comparison": self.found}

    def alone(self, name: str, do: Callable[[], Any]) -> None:
        """Do it unless another process is at it."""
        try:
            with FileLock(self.cache / f"{name}.lock", timeout=0):
                do()
        except Timeout:
            self.report(f"{self.found['name']}: {name} is left to another process")

    @contextmanager
    def _changed(self) -> Iterator[Record]:
        """The record, written when the block ends."""
        with files.locked(self.target):
            record = self.record()
            yield record
            files.write_json(self.target, record)

    def tuned(self, way: str, at: str) -> float:
        """The way's number that was best on validation images, tried out where that is not recorded."""
        tried = self._tried(way, at)
        while (value := _next(WAYS[way], tried)) is not None:
            network, origin = self._pruned(self.found["tuning_seed"], way, at, value)
            accuracy = round(evaluate(network, self.images.val).accuracy, 4)
            with self._changed() as record:
                record["tuned"].append({"way": way, "at": at, "value": value, "val": accuracy, **origin})
            tried[value] = accuracy
            self.report(f"{way} at {at}, {WAYS[way].tuned} {value:g}: validation {accuracy:.2f}%")
        return max(tried, key=tried.get)

    def _tried(self, way: str, at: str) -> dict[float, float]:
        rows = self.record()["tuned"]
        return {row["value"]: row["val"] for row in rows if (row["way"], row["at"]) == (way, at)}

    def final(self, seed: int, way: str, at: str) -> None:
        """One way at one final seed, recorded."""
        if any((row["seed"], row["way"], row["at"]) == (seed, way, at) for row in self.record()["runs"]):
            return
        value = self.value(way, at)
        network, origin = self._pruned(seed, way, at, value)
        small = network if self.found["by"] == "element" else shrink(network)
        kept = {name: int(weight.count_nonzero()) for name, weight in prunable(small).items()}
        val, test = evaluate(network, self.images.val), evaluate(network, self.images.test)
        with self._changed() as record:
            record["runs"].append({
                "seed": seed, "way": way, "at": at, "value": value, "kept": kept,
                "val": round(val.accuracy, 4), "test": round(test.accuracy, 4),
                "seconds": origin["seconds"], "test_correct": records.pack_bits(test.correct),
                "provenance": {**records.provenance(), **_peer(WAYS[way]), "commit": origin["commit"]},
            })  # fmt: skip
        self.report(f"{way} at {at}, seed {seed}: test {test.accuracy:.2f}%, {sum(kept.values()):,} weights")

    def value(self, way: str, at: str) -> float:
        """The way's number for a budget, which may be tuned at another."""
        at = self.found["tuned_at"][at]
        with FileLock(self.cache / f"tune-{way}-{at}.lock"):  # another process may still be at it
            return self.tuned(way, at)

    def _pruned(self, seed: int, way: str, at: str, value: float) -> tuple[nn.Module, dict[str, Any]]:
        """The network a way makes, its seconds, and the commit that made it; that of ADMM is kept for the way
        with its mask.
        """
        keep = json.dumps(self.found["budgets"][at], sort_keys=True)
        of = hashlib.sha256(keep.encode()).hexdigest()[:16]
        file = self.cache / f"{way}-{of}-{value:g}-seed{seed}.safetensors"
        if way == "admm" and file.exists():
            return stage_files.kept(file, self.found["model"])
        task = self._task(seed, at)
        if way == "fresh":
            task.by_admm()  # is kept, so that its time does not count below
        started = perf_counter()
        network = WAYS[way].prune(task, value)
        origin = {
            "seconds": round(perf_counter() - started, 1), "commit": records.provenance()["commit"],
        }  # fmt: skip
        if way == "admm":
            stage_files.keep(network, file, origin)
        return network, origin

    def _task(self, seed: int, at: str) -> Task:
        found = self.found
        shared = ("model", "dataset", "shift_pixels", "batch_size", "precision", "images")
        stage = Stage("dense", {name: found[name] for name in shared} | found["dense"])
        runner = Runner(found["model"], seed, self.images, self.report, files.cache_folder())
        return Task(
            found["model"], runner.go_on([], stage)[0].network, self.images, found["budgets"][at], seed,
            found["dense"]["epochs"], tuple(found["phases"]), found["rate"], found["lr"], found["batch_size"],
            found["precision"], found["shift_pixels"],
            lambda: self._pruned(seed, "admm", at, self.value("admm", at))[0], found["by"],
        )  # fmt: skip


def _peer(way: Way) -> dict[str, str]:
    """The version of the package that a way is taken from."""
    return {way.package: version(way.package)} if way.package else {}


def _next(way: Way, tried: dict[float, float]) -> float | None:
    """What is to be tried next: the rest of the grid, then beyond the end where the best of it is."""
    if left := [value for value in way.values if value not in tried]:
        return left[0]
    best, values = max(tried, key=tried.get), sorted(tried)
    if len(values) == len(way.values) + EXTENSIONS or best not in (values[0], values[-1]):
        return None
    factor = values[-1] / values[-2] if best == values[-1] else values[0] / values[1]
    return float(f"{best * factor:.2g}")
