"""Full runs as short compositions of the library, driven by a recipe: data/recipes/NAME.yaml."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from . import codec, data, groups, models, recipes, records, storage
from .admm import ADMM, Key
from .allocation import prunable
from .constraints import Sparse
from .distillation import Teacher
from .evaluation import evaluate
from .models import with_dropout
from .names import resolve
from .parametrizations import Mask, bake, hold
from .recipes import Recipe
from .schedules import geometric
from .shrink import expand, shrink
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
    chosen = [recipes.read(path) for path in paths]
    for recipe in chosen:
        if odd := set(seeds or ()) - set(recipe["seeds"]):
            raise ValueError(
                f"{recipe['name']}: {sorted(odd)} are not final seeds of the recipe: {recipe['seeds']}"
            )
    for recipe in chosen:
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

    `seconds` is the time of compression, which starts from the dense network; each stage says which
    commits it was trained by (several where a killed run was resumed after a change).
    """
    images = data.load(recipe["dataset"])
    trained = train(recipe, seed, images, report, home)
    (dense, dense_origin), (model, origin) = trained[0], trained[-1]
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
        "seconds": round(sum(each["seconds"] for _, each in trained[1:]), 1),
        "stages": [
            {"name": stage.name, "seconds": each["seconds"], "commit": each["commit"],
             "loss": each["loss"], "val_accuracy": each["val_accuracy"]}
            for stage, (_, each) in zip(stages(recipe), trained, strict=True)
        ],
        "dense_test_correct": records.pack_bits(dense_test.correct),
        "test_correct": records.pack_bits(test.correct),
        "provenance": origin["provenance"],
        "dense_provenance": dense_origin["provenance"],
    }
    records.add_run(recipe, run, images.checksums, home and home / "records")
    return run


@dataclass(frozen=True)
class Stage:
    """A stage of training: what it does, on what, and how many epochs went before."""

    name: str
    settings: dict[str, Any]
    before: int


def stages(recipe: Recipe) -> list[Stage]:
    """The stages of a recipe: dense, then per step ADMM and retraining (or magnitude pruning, retrained).

    `magnitude` spends ADMM's epochs on retraining too, so that both methods train equally long. Sources:
    1804.03294, Section 4 (one step); 1810.07378, Section 3 (several); 1510.00149, Section 2 (magnitude).
    """
    shared = {name: recipe[name] for name in ("model", "dataset", "shift_pixels", "batch_size", "precision")}
    wanted = [("dense", recipe["dense"])]
    taught = {"distill": recipe["distill"]} if "distill" in recipe else {}
    for step in recipes.steps(recipe):
        more = {name: step[name] for name in recipes.BUDGETS if name in step} | taught
        if recipe["method"] == "admm":
            wanted += [("admm", {**step["admm"], **more}), ("retrain", {**step["retrain"], **more})]
        else:
            epochs = step["admm"]["epochs"] + step["retrain"]["epochs"]
            wanted += [("magnitude", {**step["retrain"], "epochs": epochs, **more})]
    before = [0, *accumulate(settings["epochs"] for _, settings in wanted)]
    return [
        Stage(name, {**shared, **settings}, count)
        for (name, settings), count in zip(wanted, before, strict=False)
    ]


def train(
    recipe: Recipe, seed: int, images: data.Data, report: Report = _silent, home: Path | None = None
) -> list[tuple[nn.Module, dict[str, Any]]]:
    """The network after each stage, as a plain module, with its origin: seconds, provenance, and per epoch
    the training loss and the validation accuracy (of projected weights, under ADMM).

    Finished stages are kept and shared by all recipes that begin alike; within a stage, a killed run goes
    on from its last epoch. The dense network is the first, and the teacher where the recipe asks for one.
    """
    folder = home / "cache" if home else cache_folder()
    results: list[tuple[nn.Module, dict[str, Any]]] = []
    chain: list[Any] = [seed]
    for stage in stages(recipe):
        chain.append([stage.name, stage.settings])
        key = hashlib.sha256(json.dumps(chain, sort_keys=True).encode()).hexdigest()[:16]
        path = folder / f"{stage.name}-{recipe['model']}-seed{seed}-{key}.safetensors"
        if not path.exists():
            network = models.create(recipe["model"], seed)
            if results:
                network.load_state_dict(results[-1][0].state_dict())
            unfinished = path.with_suffix(".unfinished")
            provenance = records.provenance()
            commits = _started(path.with_suffix(".commits"), provenance["commit"])
            dense = results[0][0] if results else None
            history = _run(stage, network, dense, images, seed, report, unfinished)
            origin = {
                "seconds": round(sum(epoch.seconds for epoch in history), 1),
                "commit": ", ".join(commits),
                "provenance": provenance,
                "loss": [round(epoch.loss, 5) for epoch in history],
                "val_accuracy": [round(epoch.val_accuracy, 2) for epoch in history],
            }
            _keep(network, path, origin)
            unfinished.unlink(missing_ok=True)
            path.with_suffix(".commits").unlink()
        results.append(_kept(path, recipe["model"]))
    return results


def _run(
    stage: Stage, network: nn.Module, dense: nn.Module | None, images: data.Data, seed: int, report: Report,
    unfinished: Path,
) -> list[Epoch]:  # fmt: skip
    """One stage, on `network`, in place; what was pruned before it stays so (masked ADMM)."""
    settings, admm, trained = stage.settings, None, network
    _hold_zeros(network)
    if stage.name == "magnitude":
        ADMM(network, recipes.sets(settings, network)).finalize()
    if "dropout" in settings:
        trained = with_dropout(network, settings["dropout"])
    elif settings.get("shrink"):
        trained = shrink(network)
    if stage.name == "admm":
        sets = {key: _fitted(each, key, trained) for key, each in recipes.sets(settings, network).items()}
        growth = settings.get("rho_growth")  # or else `balance` moves rho
        schedule = growth and geometric(1, growth, settings["epochs"])
        admm = ADMM(trained, sets, settings["rho"], schedule, settings.get("balance"))
    history = fit(
        trained,
        images,
        settings["epochs"],
        admm=admm,
        lr=settings["lr"],
        teacher=Teacher(dense, **settings["distill"]) if "distill" in settings else None,
        batch_size=settings["batch_size"],
        augment=data.shifts(settings["shift_pixels"]) if settings["shift_pixels"] else None,
        precision=settings["precision"],
        seed=1000 * seed + stage.before,
        resume=unfinished,
        progress=_told(report, stage.name),
    )
    if admm is not None:
        admm.finalize()
    if settings.get("shrink"):
        expand(trained, network)
    bake(network)
    return history


@torch.no_grad()
def _hold_zeros(network: nn.Module) -> None:
    """Hold the zeros that a plain network has from the stages before."""
    for name, weight in prunable(network).items():
        if bool((weight == 0).any()):
            hold(*resolve(network, name), weight.clone(), Mask(weight != 0))


def _fitted(each: Sparse, key: Key, network: nn.Module) -> Sparse:
    """The set, or all there is where shrinking has left a layer with less than its budget."""
    if not isinstance(key, str):
        return each
    return replace(each, keep=min(each.keep, groups.count(getattr(*resolve(network, key)).shape, each.by)))


def _started(file: Path, commit: str) -> list[str]:
    """The commits that worked on a stage so far, in order, with this one added; `file` keeps them."""
    commits = file.read_text().split() if file.exists() else []
    if commits[-1:] != [commit]:
        commits.append(commit)
    file.parent.mkdir(parents=True, exist_ok=True)
    records.write_atomically(file, "\n".join(commits))
    return commits


def _keep(network: nn.Module, path: Path, origin: dict[str, Any]) -> None:
    partial = path.with_suffix(f".{os.getpid()}")
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, partial, metadata={"origin": json.dumps(origin)})
    os.replace(partial, path)


def _kept(path: Path, model: str) -> tuple[nn.Module, dict[str, Any]]:
    network = models.create(model)
    network.load_state_dict(load_file(path))
    with safe_open(path, "pt") as file:
        return network, json.loads(file.metadata()["origin"])


def cache_folder() -> Path:
    """Where finished stages wait for the next one: $ADMM_CACHE, or the user's cache folder."""
    return Path(os.environ.get("ADMM_CACHE") or Path.home() / ".cache" / "admm_lib")


def _told(report: Report, stage: str) -> Callable[[Epoch], None]:
    return lambda epoch: report(
        f"  {stage} {epoch.number}: loss {epoch.loss:.4f}, validation {epoch.val_accuracy:.2f}%, "
        f"{epoch.seconds:.1f} s"
    )
