"""Full runs as short compositions of the library, driven by a recipe: data/recipes/NAME.yaml."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from . import codec, data, files, models, recipe_stages, recipes, records, storage
from .distributed import launched
from .evaluation import evaluate
from .low_rank import factored
from .names import resolve
from .quantization import Levels
from .recipe_stages import Done, Stage
from .recipes import Recipe
from .shrink import pack, runs_in_turn
from .shrink_graph import clear_unread
from .stages import Report, Runner
from .training import training_device

WORTHWHILE = 0.01  # of a file's bytes, or else it stays as it is


def silent(line: str) -> None:
    """The report that nobody reads."""


def final_seeds(found: Mapping[str, Any], seeds: Iterable[int] | None = None) -> list[int]:
    """Those of `seeds`, or all, of what has a name and final seeds; ValueError for one that it has not."""
    chosen = list(seeds or found["seeds"])
    if odd := set(chosen) - set(found["seeds"]):
        raise ValueError(f"{found['name']}: {sorted(odd)} are not final seeds: {found['seeds']}")
    return chosen


def run_recipes(
    paths: Iterable[str | Path],
    seeds: list[int] | None = None,
    report: Report = silent,
    home: Path | None = None,
) -> None:
    """Run every recipe at its final seeds, or at those of them in `seeds`; finished ones are skipped.

    Records and files go to `home`/records and `home`/models, by default those of the project; another
    `home` also has a cache of its own, so that everything is trained again. Each finished seed is
    recorded before the next one starts. Raises ValueError, before any work, for a recipe that is not in
    order, a seed that is not one of its own, and a record of that name that another recipe has made.
    """
    if launched() > 1:
        raise ValueError("recipes are run by one process each: call fit in a script of your own for several")
    chosen = [recipes.read(path) for path in paths]
    for recipe in chosen:
        final_seeds(recipe, seeds)
        _finished(recipe, home)
    for recipe in chosen:
        finished = _finished(recipe, home)  # hours may have passed, in which others recorded seeds
        for seed in final_seeds(recipe, seeds):
            label = f"{recipe['name']} seed {seed}"
            if seed in finished:
                report(f"{label}: recorded already")
                continue
            report(f"{label}: started")
            run = record_run(recipe, seed, report, home)
            report(
                f"{label}: test images {run['dense_test_accuracy']:.2f}% dense, {run['test_accuracy']:.2f}% "
                f"compressed; {run['file_bytes']:,} bytes, {run['seconds']:.0f} s"
            )


def _finished(recipe: Recipe, home: Path | None) -> set[int]:
    """The seeds already recorded; ValueError where they were recorded with another recipe."""
    folder = home and home / "records"
    if recipe["name"] not in records.names(folder):
        return set()
    record = records.read(recipe["name"], folder)
    if {**record["recipe"], "seeds": None} != {**recipe, "seeds": None}:
        raise ValueError(
            f"the record {recipe['name']} was made with another recipe: rename this one, or delete the record"
        )
    return {run["seed"] for run in record["runs"]}


def record_run(
    recipe: Recipe, seed: int, report: Report = silent, home: Path | None = None
) -> dict[str, Any]:
    """One seed of a recipe: train, compress, write the file, read it, and only then read the test set.

    `seconds` is the time of compression, which starts from the dense network, all children of a tree search
    included; each stage on the way to the result says which commits it was trained by (several where a
    killed run was resumed after a change).
    """
    device = training_device()
    images = data.load(recipe["dataset"], device=device)
    trained, tried = train(recipe, seed, images, report, home)
    dense, model = trained[0].network, compressed(recipe, trained, images)
    place = home or data.HOME
    file = place / "models" / f"{recipe['name']}-seed{seed}.admm"
    file.parent.mkdir(parents=True, exist_ok=True)
    codec.save(model, file)
    decoded = network(recipe, file)
    ladder, layers = storage.ladder(decoded), storage.layers(decoded)
    dense, decoded = dense.to(device), decoded.to(device)
    spent = [seconds for each in tried for seconds in each["seconds"]] or _seconds(trained)
    dense_test, test = evaluate(dense, images.test), evaluate(decoded, images.test)
    run = {
        "seed": seed,
        "dense_val_accuracy": round(evaluate(dense, images.val).accuracy, 4),
        "dense_test_accuracy": round(dense_test.accuracy, 4),
        "val_accuracy": round(evaluate(decoded, images.val).accuracy, 4),
        "test_accuracy": round(test.accuracy, 4),
        "weights": ladder.weights,
        "nonzero_weights": ladder.nonzero_weights,
        "ladder_bits": ladder.as_bits(),
        "layers": layers,
        "file": str(file.relative_to(place.parent)),
        "file_bytes": file.stat().st_size,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "seconds": round(sum(spent), 1),
        "stages": [
            {"name": each.stage.name, "device": each.origin["provenance"]["device"]}
            | {name: each.origin[name] for name in ("seconds", "commit", "loss", "val_accuracy")}
            for each in trained
        ],
        **({"search": tried} if tried else {}),
        "dense_test_correct": records.pack_bits(dense_test.correct),
        "test_correct": records.pack_bits(test.correct),
        "provenance": trained[-1].origin["provenance"],
        "dense_provenance": trained[0].origin["provenance"],
    }
    records.add_run(recipe, run, images.checksums, home and home / "records")
    return run


def compressed(recipe: Recipe, trained: list[Done], images: data.Data) -> nn.Module:
    """The network of the last stage as its file holds it: factored; what nobody reads zero; where it is
    quantized, its live units first.
    """
    model = trained[-1].network
    if recipes.prunes(recipe) and not runs_in_turn(model):
        model = clear_unread(model, images.val.inputs[:2].cpu())
    elif recipes.prunes(recipe) and recipes.quantizes(recipe):
        _pack(model, recipe, trained[-1].origin.get("levels", {}))
    if ranks := recipes.ranks(recipe):
        model = factored(model, ranks)
    return model


@torch.no_grad()
def _pack(model: nn.Sequential, recipe: Recipe, levels: Mapping[str, dict]) -> None:
    """Live units first; biases that took up a constant on the way are projected onto their sets again."""
    pack(model)
    last = {}  # a later step's set for a layer takes the place of an earlier one
    for step in recipes.steps(recipe):
        last |= recipes.given_sets(step)
    last |= {name: Levels(**each) for name, each in levels.items()}
    for name, each in last.items():
        tensor = getattr(*resolve(model, name))
        tensor.copy_(each.project(tensor))


def network(recipe: Recipe, file: Path) -> nn.Module:
    """The network in the file of a recipe's run. Raises CodecError, naming the file and the reason."""
    return codec.load(file, _skeleton(recipe))


def _skeleton(recipe: Recipe) -> nn.Module | None:
    """The module that a file of factored layers is read into; others say themselves what they hold."""
    ranks = recipes.ranks(recipe)
    return factored(models.create(recipe["model"]), ranks) if ranks else None


def reencode(
    names: Iterable[str] | None = None, report: Report = silent, home: Path | None = None
) -> None:
    """Write the files of all records, or of those named, anew where today's format saves `WORTHWHILE` of one.

    The networks stay as they are, bit for bit, and nothing is trained or measured again; the record's sizes,
    checksum and ladder follow, and say by which commit. A call that was killed is made good by the next.
    Raises ValueError for a file that is neither that of its record nor, after a kill, the one before it.
    """
    place, folder = home or data.HOME, home and home / "records"
    for name in names or records.names(folder):
        record = records.read(name, folder)
        for run in record["runs"]:
            file = place.parent / run["file"]
            before = file.read_bytes()
            known = hashlib.sha256(before).hexdigest()
            if known not in (run["sha256"], run.get("reencoded", {}).get("from")):
                raise ValueError(f"{file.name} is not its record's file: restore it from version control")
            model = network(record["recipe"], file)
            after = codec.encode(model)
            if known == run["sha256"] and len(after) > (1 - WORTHWHILE) * len(before):
                continue
            if not _equal(codec.decode(after, _skeleton(record["recipe"])), model):
                raise ValueError(f"{file.name} did not come back as it was: nothing was changed")
            run |= {
                "ladder_bits": storage.ladder(model).as_bits(),
                "file_bytes": len(after),
                "sha256": hashlib.sha256(after).hexdigest(),
                "reencoded": {"commit": records.provenance()["commit"], "from": known},
            }
            records.add_run(record["recipe"], run, record["data_checksums"], folder)
            codec.save(model, file)
            report(f"{file.name}: {len(before):,} bytes, now {len(after):,}")


def _equal(one: nn.Module, other: nn.Module) -> bool:
    """Whether two networks have the same tensors, bit for bit."""
    states = one.state_dict(), other.state_dict()
    return states[0].keys() == states[1].keys() and all(
        codec.same_bits(states[0][name], states[1][name]) for name in states[0]
    )


def train(
    recipe: Recipe, seed: int, images: data.Data, report: Report = silent, home: Path | None = None
) -> tuple[list[Done], list[dict[str, Any]]]:
    """The finished stages, from the dense network to the last step's, and what a tree search tried."""
    folder = home / "cache" if home else files.cache_folder()
    runner = Runner(recipe["model"], seed, images, report, folder)
    path = runner.go_on([], recipe_stages.dense(recipe))
    steps = [recipe_stages.of_step(recipe, step) for step in recipes.steps(recipe)]
    if "search" in recipe:
        return _searched(runner, path, steps, recipe["search"]["width"])
    for step in steps:
        path = runner.go_on(path, *step)
    return path, []


def _searched(
    runner: Runner, dense: list[Done], steps: list[list[Stage]], width: int
) -> tuple[list[Done], list[dict[str, Any]]]:
    """Tree search over partial models: the best child of the last step, and every child that was tried.

    The first `width` steps each start from the dense network. Each further step is tried from all `width`
    models; the child with the best validation accuracy (the first of them) replaces its parent, the others
    are dropped. Source: the progressive framework of 1810.07378.
    """
    kept: list[list[Done]] = []
    tried, path = [], dense
    for number, step in enumerate(steps, 1):
        parents = [dense] if number <= width else kept
        children = [runner.go_on(parent, *step) for parent in parents]
        accuracies = [child[-1].origin["val_accuracy"][-1] for child in children]
        best = accuracies.index(max(accuracies))
        path = children[best]
        if number <= width:
            kept.append(path)
        else:
            kept[best] = path
        seconds = [round(sum(_seconds(child[-len(step) :])), 1) for child in children]
        tried.append({"step": number, "val_accuracy": accuracies, "best": best, "seconds": seconds})
        runner.report(f"  step {number}: {accuracies}, the best from model {best}")
    return path, tried


def _seconds(stages: list[Done]) -> list[float]:
    return [each.origin["seconds"] for each in stages if each.stage.name != "dense"]
