"""Full runs as short compositions of the library, driven by a recipe: data/recipes/NAME.yaml."""

import copy
import hashlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from time import perf_counter
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from . import codec, data, models, records, storage
from .admm import ADMM
from .constraints import Sparse
from .distillation import Teacher
from .evaluation import evaluate
from .parametrizations import bake
from .recipes import Recipe, read_recipe
from .schedules import geometric
from .training import Epoch, fit

Report = Callable[[str], None]

def _silent(line: str) -> None:
    """The report that nobody reads."""


def run_recipes(
    paths: Iterable[str | Path],
    seeds: list[int] | None = None,
    report: Report = _silent,
    home: Path | None = None,
) -> None:
    """Run every recipe at its final seeds, or at those of them in `seeds`; finished ones are skipped.

    Records and files go to `home`/records and `home`/models, by default those of the project; another
    `home` also has a cache of its own, so that everything is trained again. Each finished seed is
    recorded before the next one starts. Raises ValueError, before any work, for a recipe that is not in
    order or a seed that is not one of its own.
    """
    recipes = [read_recipe(path) for path in paths]
    for recipe in recipes:
        if odd := set(seeds or ()) - set(recipe["seeds"]):
            raise ValueError(
                f"{recipe['name']}: {sorted(odd)} are not final seeds of the recipe: {recipe['seeds']}"
            )
    for recipe in recipes:
        finished = _finished(recipe, home)
        for seed in seeds or recipe["seeds"]:
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
    recipe: Recipe, seed: int, report: Report = _silent, home: Path | None = None
) -> dict[str, Any]:
    """One seed of a recipe: train, compress, write the file, read it, and only then read the test set.

    `seconds` is the time of compression, which starts from the dense network.
    """
    images = data.load(recipe["dataset"])
    dense, dense_origin = train_dense(recipe, seed, images, report, home)
    model, origin = compressed(recipe, seed, images, report, home)
    place = home or data.HOME
    file = place / "models" / f"{recipe['name']}-seed{seed}.admm"
    file.parent.mkdir(parents=True, exist_ok=True)
    codec.save(model, file)
    decoded = codec.load(file)
    ladder = storage.ladder(decoded)
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
        "layers": storage.layers(decoded),
        "file": str(file.relative_to(place.parent)),
        "file_bytes": file.stat().st_size,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "seconds": origin["seconds"],
        "dense_test_correct": records.pack_bits(dense_test.correct),
        "test_correct": records.pack_bits(test.correct),
        "provenance": origin["provenance"],
        "dense_provenance": dense_origin["provenance"],
    }
    records.add_run(recipe, run, images.checksums, home and home / "records")
    return run


def train_dense(
    recipe: Recipe, seed: int, images: data.Data, report: Report = _silent, home: Path | None = None
) -> tuple[nn.Module, dict[str, Any]]:
    """The dense network of a seed and its origin; recipes with the same dense stage share it."""

    def train() -> nn.Module:
        network = models.create(recipe["model"], seed)
        fit(
            network,
            images,
            seed=seed,
            progress=_told(report, "dense"),
            **recipe["dense"],
            **_common(recipe),
        )
        return network

    shared = ("model", "dataset", "shift_pixels", "batch_size", "precision", "dense")
    return _cached("dense", {name: recipe[name] for name in shared}, seed, train, home)


def compressed(
    recipe: Recipe, seed: int, images: data.Data, report: Report = _silent, home: Path | None = None
) -> tuple[nn.Module, dict[str, Any]]:
    """The pruned and retrained network of a seed as a plain module, and its origin."""

    def train() -> nn.Module:
        dense, _ = train_dense(recipe, seed, images, report, home)
        return bake(compress(dense, recipe, seed, images, report))

    unnamed = {name: value for name, value in recipe.items() if name not in ("name", "title", "seeds")}
    return _cached(recipe["method"], unnamed, seed, train, home)


def _cached(
    stage: str, settings: dict[str, Any], seed: int, train: Callable[[], nn.Module], home: Path | None
) -> tuple[nn.Module, dict[str, Any]]:
    """What `train` gives and its origin (seconds, provenance), kept so that a killed run resumes."""
    key = hashlib.sha256(json.dumps([seed, settings], sort_keys=True).encode()).hexdigest()[:16]
    folder = home / "cache" if home else cache_folder()
    path = folder / f"{stage}-{settings['model']}-seed{seed}-{key}.safetensors"
    if not path.exists():
        provenance, started = records.provenance(), perf_counter()
        network = train()
        origin = {"seconds": round(perf_counter() - started, 1), "provenance": provenance}
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}")
        tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
        save_file(tensors, partial, metadata={"origin": json.dumps(origin)})
        os.replace(partial, path)
    network = models.create(settings["model"], seed)
    network.load_state_dict(load_file(path))
    with safe_open(path, "pt") as file:
        return network, json.loads(file.metadata()["origin"])


def cache_folder() -> Path:
    """Where finished stages wait for the next one: $ADMM_CACHE, or the user's cache folder."""
    return Path(os.environ.get("ADMM_CACHE") or Path.home() / ".cache" / "admm_lib")


def compress(
    model: nn.Module, recipe: Recipe, seed: int, images: data.Data, report: Report = _silent
) -> nn.Module:
    """One-shot pruning by the recipe's method, then masked retraining; the model is changed in place.

    `magnitude` spends ADMM's epochs on retraining too, so that both methods train equally long. With
    `distill` the network as it was before teaches it in both stages. Sources: 1804.03294, Section 4
    (admm); 1510.00149, Section 2 (magnitude, in one step).
    """
    sets = {name: Sparse(keep=keep) for name, keep in recipe["keep"].items()}
    stage, retrain = dict(recipe["admm"]), dict(recipe["retrain"])
    common = _common(recipe)
    if "distill" in recipe:
        common["teacher"] = Teacher(copy.deepcopy(model), **recipe["distill"])
    growth = geometric(1, stage.pop("rho_growth"), stage["epochs"])
    admm = ADMM(model, sets, rho=stage.pop("rho"), schedule=growth)
    if recipe["method"] == "admm":
        told = _told(report, "ADMM")
        fit(model, images, admm=admm, seed=seed + 1000, progress=told, **stage, **common)
    else:
        retrain["epochs"] += stage["epochs"]
    admm.finalize()
    fit(model, images, seed=seed + 2000, progress=_told(report, "retrain"), **retrain, **common)
    return model


def _common(recipe: Recipe) -> dict[str, Any]:
    augment = data.shifts(recipe["shift_pixels"]) if recipe["shift_pixels"] else None
    return {
        "batch_size": recipe["batch_size"],
        "precision": recipe["precision"],
        "augment": augment,
    }


def _told(report: Report, stage: str) -> Callable[[Epoch], None]:
    return lambda epoch: report(
        f"  {stage} {epoch.number}: loss {epoch.loss:.4f}, validation {epoch.val_accuracy:.2f}%, "
        f"{epoch.seconds:.1f} s"
    )
