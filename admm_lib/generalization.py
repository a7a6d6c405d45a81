"""Robustness and transfer of pruned networks beside their dense ones: data/generalization/NETWORK.json.

What is recorded is paired by seed: a dense network, and those that two ways of pruning made of it.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from . import data, files, models, pipelines, recipe_stages, recipes, records
from .data import Data, Split
from .evaluation import evaluate, in_eval_mode
from .records import Interval, interval
from .robustness import CHANGES, under
from .shrink import shrink
from .stages import Report, Runner

FOLDER = data.HOME / "generalization"
SIZES = {  # grey levels, 0 to 1, and degrees
    "FGSM": (0.05, 0.1, 0.15, 0.2, 0.3),
    "PGD-20": (0.05, 0.1, 0.15, 0.2, 0.3),
    "noise": (0.1, 0.2, 0.3, 0.4, 0.5),
    "rotation": (10, 20, 30, 40, 50),
}
IMAGES = 1_000  # of the test split, the first ones
FITTED = 10_000  # training images, at most, that a classifier on frozen features is fitted to
STRENGTHS = (0.01, 0.1, 1.0, 10.0)  # of a classifier on frozen features: the inverse of its penalty
# What is compared: records of about equal accuracy on validation images, and the data set that their frozen
# features are asked about: digits of another source, and classes that were not seen.
COMPARED = {
    "lenet5": ("digits", {
        "element": "structured-lenet5-element-90x", "filter": "structured-lenet5-filter-37x",
    }),
    "resnet20": ("cifar10-jpeg:5-9", {
        "element": "transfer-resnet20-element-6x", "channel": "transfer-resnet20-channel-50pct",
    }),
}  # fmt: skip
Row = dict[str, Any]


def features(model: nn.Sequential, inputs: Tensor) -> Tensor:
    """What the last layer of a network that runs its parts in turn is given, (N, D), without gradients."""
    with torch.no_grad(), in_eval_mode(model):
        return torch.cat([model[:-1](batch) for batch in inputs.split(500)]).flatten(1)


def transfer(model: nn.Sequential, images: Data) -> float:
    """Test accuracy, in percent, of a linear classifier on the network's frozen features of another data set.

    Logistic regression on features scaled to mean 0 and variance 1; its penalty is chosen on the validation
    split among `STRENGTHS`. Features that are always zero say nothing, and do no harm.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    splits = {"train": images.train.subset(FITTED), "val": images.val, "test": images.test}
    seen = {name: features(model, split.inputs).numpy() for name, split in splits.items()}
    labels = {name: split.targets.numpy() for name, split in splits.items()}
    fitted = []
    for strength in STRENGTHS:
        each = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2_000))
        fitted.append(each.fit(seen["train"], labels["train"]))
    best = max(fitted, key=lambda each: each.score(seen["val"], labels["val"]))
    return 100 * best.score(seen["test"], labels["test"])


def changed(model: nn.Module, split: Split) -> Iterator[Row]:
    """Accuracy, in percent, on changed images: a row for each of `CHANGES` and its sizes, 0 included."""
    clean = round(evaluate(model, split).accuracy, 4)
    for name, change in CHANGES.items():
        yield {"change": name, "size": 0, "accuracy": clean}
        for size in SIZES[name]:
            found = under(model, split, change, size).accuracy
            yield {"change": name, "size": size, "accuracy": round(found, 4)}


def measure(network: str, report: Report = pipelines.silent) -> Iterator[Row]:
    """A row for every seed, network and question; for networks of grey images the changes, too.

    The dense network of a seed is that of its records, trained where it is not in the cache. Raises
    ValueError for an unknown network.
    """
    if network not in COMPARED:
        raise ValueError(f"unknown network {network!r}: choose one of {', '.join(COMPARED)}")
    other, names = COMPARED[network]
    recipe = records.read(next(iter(names.values())))["recipe"]
    images, others = data.load(recipe["dataset"]), data.load(other)
    for seed in recipe["seeds"]:
        for kind, model in _networks(names, recipe, seed, images, report).items():
            here = {"seed": seed, "network": kind}
            yield here | {"change": "transfer", "accuracy": round(transfer(model, others), 4)}
            if network not in models.OF_COLOUR:
                small = model if kind == "dense" else shrink(model).eval()  # the same outputs, sooner
                yield from (here | row for row in changed(small, images.test.subset(IMAGES)))
            report(f"{network} seed {seed}: {kind}")


def _networks(
    names: Mapping[str, str], recipe: recipes.Recipe, seed: int, images: Data, report: Report
) -> dict[str, nn.Sequential]:
    """The dense network of a seed, and what the files of the records hold for it.

    Raises ValueError where the dense network is not the one that the records began with.
    """
    runner = Runner(recipe["model"], seed, images, report, files.cache_folder())
    found = {"dense": runner.go_on([], recipe_stages.dense(recipe))[0].network}
    right = evaluate(found["dense"], images.test).accuracy
    for kind, name in names.items():
        record = records.read(name)
        run = next(run for run in record["runs"] if run["seed"] == seed)
        if abs(right - run["dense_test_accuracy"]) > 0.02:
            raise ValueError(
                f"{name} began with another dense network at seed {seed}: it had "
                f"{run['dense_test_accuracy']:.2f}% where this has {right:.2f}%; run its recipe here first"
            )
        found[kind] = pipelines.network(record["recipe"], data.HOME.parent / run["file"])
    return {kind: model.eval() for kind, model in found.items()}


def record(network: str, report: Report = pipelines.silent) -> Path:
    """Measure, and write data/generalization/NETWORK.json; returns its path."""
    rows = list(measure(network, report))
    other, names = COMPARED[network]
    found = {"network": network, "records": names, "other": other, "images": IMAGES}
    return records.write_measured(FOLDER / f"{network}.json", found, rows)


def read(network: str) -> dict[str, Any]:
    """What `record` wrote. FileNotFoundError, with the command, where there is none."""
    return records.read_measured(FOLDER / f"{network}.json", f"admm generalization {network}")


def accuracies(found: Mapping[str, Any], network: str, change: str, size: float | None = None) -> list[float]:
    """The accuracies of one network, "dense" or a way of pruning, under one change, by rising seed.

    Raises ValueError where there is not exactly one for each, as where a change has sizes and none is given.
    """
    at = (network, change, size)
    rows = [row for row in found["rows"] if (row["network"], row["change"], row.get("size")) == at]
    seeds = [row["seed"] for row in rows]
    if not rows or sorted(seeds) != sorted({row["seed"] for row in found["rows"]}):
        raise ValueError(f"{network}, {change}, size {size}: not one accuracy for each seed is recorded")
    return [row["accuracy"] for row in sorted(rows, key=lambda row: row["seed"])]


def difference(
    found: Mapping[str, Any], ours: str, theirs: str, change: str, size: float | None = None
) -> Interval:
    """The interval of ours - theirs in percentage points, paired by seed."""
    pairs = zip(*(accuracies(found, each, change, size) for each in (ours, theirs)), strict=True)
    return interval([a - b for a, b in pairs])
