"""Studies of k-means: many clusterings of one network, their centroids trained, data/studies/NAME.yaml.

The record, NAME.json beside it, is written by the run: per seed and arm the squared error, and the accuracy
before and, where the study trains, after its centroids were trained.
"""

import copy
import json
import math
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import nn

from . import codec, data, files, models, pipelines, recipe_stages, recipes, records
from .allocation import prunable
from .evaluation import evaluate
from .holding import hold
from .names import resolve
from .quantization import Clusters
from .stages import Report, Runner
from .training import fit

Study = dict[str, Any]
Arm = dict[str, Any]
# An arm has bits and init; `iterations` of Lloyd where they are limited; the `layers` that are clustered
# where these are not all; and `largest`, another start, whose values the largest weights take.
ARM = ("bits", "init", "iterations", "layers", "largest")
LARGEST = 0.01  # the share of a layer's weights that are its largest, by magnitude
FIELDS = {"name": str, "title": str, "base": str, "start": str, "seeds": list, "arms": list}
OPTIONAL = {"train": dict}
FIELDS_OF_RECORD = {"study": dict, "runs": list}
HOME = data.HOME / "studies"


def read(path: str | Path) -> Study:
    """A study, checked: its fields, its base recipe, seeds of that, and every arm.

    `start` is the base's "dense" network or its "pruned" one, whose zeros are kept apart; each of `arms`
    lists bits and starts, and means all their pairs, see `ARM`. Without `train` no centroid is trained.
    Raises ValueError naming the file and the problem.
    """
    return files.read_checked(Path(path), _problems)


def _problems(study: Any, stem: str) -> Iterator[str]:
    """What is wrong with a study; each line may rely on the ones before it being in order."""
    types = {name: type(each) for name, each in study.items()} if isinstance(study, dict) else {}
    if {**OPTIONAL, **types} != FIELDS | OPTIONAL:
        yield f"a study has the fields {', '.join(FIELDS)}, and maybe train, each of its type"
    if study["name"] != stem or study["start"] not in ("dense", "pruned"):
        yield "name must be the file's, and start dense or pruned"
    base = data.HOME / "recipes" / f"{study['base']}.yaml"
    if not base.exists():
        yield f"there is no recipe {study['base']}"
    recipe = recipes.read(base)
    odd = [seed for seed in study["seeds"] if seed not in recipe["seeds"]]
    if odd or not study["seeds"]:
        yield f"seeds must be some of the final seeds of {study['base']}, but {odd or 'none'} are given"
    train = study.get("train", {"epochs": 1, "lr": 1})
    epochs, lr = (train.get(name, 0) for name in ("epochs", "lr"))
    known = {"epochs", "lr"} <= {*train} <= {"epochs", "lr", "precision"}
    if not known or type(epochs) is not int or not (epochs > 0 and 0 < lr < math.inf):
        yield f"train needs epochs and lr, both positive, and maybe precision, but is {train}"
    precisions = recipes.CHOICES["precision"]
    if train.get("precision", recipe["precision"]) not in precisions:
        yield f"precision must be one of {', '.join(precisions)}, but is {train['precision']!r}"
    if not study["arms"] or not all({"bits", "init"} <= {*each} <= {*ARM} for each in study["arms"]):
        yield f"arms is a list of {{bits: [...], init: [...]}}, each maybe with {', '.join(ARM[2:])}"
    chosen = arms(study)
    if len({json.dumps(_named(arm)) for arm in chosen}) < len(chosen):
        yield "arms name a pair of bits and start twice"
    layers = prunable(models.outline(recipe["model"]))
    for arm in chosen:
        _clusters(arm, seed=0)  # says itself what is wrong with it
        if unknown := set(arm.get("layers", ())) - layers.keys():
            yield f"layers: {sorted(unknown)[0]} is none of {', '.join(layers)}"


def _clusters(arm: Arm, seed: int) -> list[Clusters]:
    """The set of an arm, and that of its largest weights where it has one; they say what is wrong with it."""
    starts = [arm["init"], *([arm["largest"]] if "largest" in arm else [])]
    more = {name: arm[name] for name in ("bits", "iterations") if name in arm}
    return [Clusters(init=init, seed=seed, **more) for init in starts]


def arms(study: Study) -> list[Arm]:
    """Every pair of bits and start, in order."""
    return [
        {**each, "bits": bits, "init": init}
        for each in study["arms"]
        for init, bits in product(each["init"], each["bits"])
    ]


def result(name: str, folder: Path | None = None) -> dict[str, Any]:
    """The record of a study. FileNotFoundError where there is none; ValueError where arms of it are missing,
    or seeds: what is shown of a study is all of it.
    """
    path = (folder or HOME) / f"{name}.json"
    if not path.exists():
        raise FileNotFoundError(f"no record of the study {name!r}: `admm study data/studies/{name}.yaml`")
    record = files.read_json(path, FIELDS_OF_RECORD)
    study = record["study"]
    left = [seed for seed in study["seeds"] for arm in arms(study) if arm not in _arms_done(record, seed)]
    if left:
        raise ValueError(f"{path.name} lacks arms of the seeds {sorted(set(left))}: run the study to its end")
    return record


def found(record: dict[str, Any], **arm: Any) -> list[dict[str, Any]]:
    """What a record found for one arm, in the order of its seeds: a pair with every other arm's."""
    every = [each for run in record["runs"] for each in run["arms"]]
    return [each for each in every if _named(each) == arm]


def _named(found: dict[str, Any]) -> Arm:
    return {name: found[name] for name in ARM if name in found}


def run(
    path: str | Path,
    seeds: Iterable[int] | None = None,
    report: Report = pipelines.silent,
    folder: Path | None = None,
) -> None:
    """Run a study at its seeds, or at those of them in `seeds`; each finished arm is recorded at once, and
    those recorded are skipped. The record goes to `folder`, by default that of the studies.
    """
    study = read(path)
    chosen = pipelines.final_seeds(study, seeds)
    recipe = recipes.read(data.HOME / "recipes" / f"{study['base']}.yaml")
    images = data.load(recipe["dataset"])
    target = (folder or HOME) / f"{study['name']}.json"
    for seed in chosen:
        done = _arms_done(_record(target, study), seed)
        left = [arm for arm in arms(study) if arm not in done]
        network = _start(study, recipe, seed, images, report) if left else None
        for arm in left:
            found = _scored(network, arm, study.get("train"), recipe, seed, images)
            _add(target, study, seed, network, images, found)
            scores = " -> ".join(f"{found[at]['val']:.2f}%" for at in ("before", "after") if at in found)
            report(f"{study['name']} seed {seed}, {arm}: validation {scores}")
        if not left:
            report(f"{study['name']} seed {seed}: recorded already")


def _record(target: Path, study: Study) -> dict[str, Any]:
    """The record so far; ValueError where it was made by another study of that name."""
    if not target.exists():
        return {"study": study, "runs": []}
    record = files.read_json(target, FIELDS_OF_RECORD)
    if {**record["study"], "seeds": None} != {**study, "seeds": None}:
        raise ValueError(f"the record {target.name} was made by another study: rename this one, or delete it")
    return record


def _arms_done(record: dict[str, Any], seed: int) -> list[Arm]:
    return [_named(arm) for each in record["runs"] if each["seed"] == seed for arm in each["arms"]]


def _add(
    target: Path, study: Study, seed: int, network: nn.Module, images: data.Data, found: dict[str, Any]
) -> None:
    """Record one finished arm."""
    with files.locked(target):
        record = _record(target, study)
        mine = next((each for each in record["runs"] if each["seed"] == seed), None)
        if mine is None:
            start = {"val": _accuracy(network, images.val), "test": _accuracy(network, images.test)}
            mine = {"seed": seed, "start": start, "provenance": records.provenance(), "arms": []}
            record["runs"] = sorted([*record["runs"], mine], key=lambda each: each["seed"])
        mine["arms"].append({**found, "commit": records.provenance()["commit"]})
        files.write_json(target, {**record, "study": study})


def _start(study: Study, recipe: recipes.Recipe, seed: int, images: data.Data, report: Report) -> nn.Module:
    """The network that every arm starts from: the base's dense one, or what its committed file holds."""
    if study["start"] == "pruned":
        recorded = records.read(study["base"])["runs"]
        found = [each["file"] for each in recorded if each["seed"] == seed]
        if not found:
            raise ValueError(f"the record {study['base']} has no seed {seed} yet: run that recipe first")
        return codec.load(data.HOME.parent / found[0])
    runner = Runner(recipe["model"], seed, images, report, files.cache_folder())
    return runner.go_on([], recipe_stages.dense(recipe))[0].network


def _scored(
    network: nn.Module,
    arm: Arm,
    train: dict[str, Any] | None,
    recipe: recipes.Recipe,
    seed: int,
    images: data.Data,
) -> dict[str, Any]:
    """One arm: the weights clustered, scored, and, where asked, their centroids and the biases trained and
    scored again. `error` is the squared error of all weights clustered, `error_of_largest` their part in it.
    """
    model, errors = copy.deepcopy(network), torch.zeros(2, dtype=torch.float64)
    sets = _clusters(arm, seed)
    for name in arm.get("layers", prunable(network)):
        owner = resolve(model, name)
        weight = getattr(*owner).detach().clone()
        clustered, largest = _clustered(weight, sets)
        squares = (weight - clustered).double().square()
        errors += torch.stack([squares.sum(), squares[largest].sum()])
        hold(*owner, clustered, sets[0].hold(clustered))
    found = {**arm, "error": errors[0].item(), "error_of_largest": errors[1].item()}
    found["before"] = {"val": _accuracy(model, images.val), "test": _accuracy(model, images.test)}
    return found | (_trained(model, train, recipe, seed, images) if train else {})


def _clustered(weight: torch.Tensor, sets: list[Clusters]) -> tuple[torch.Tensor, torch.Tensor]:
    """The weight on the first set, its largest entries on the last; with a mask of the largest."""
    largest = torch.zeros(weight.numel(), dtype=torch.bool)
    count = math.ceil(LARGEST * int(weight.count_nonzero()))
    largest[weight.abs().flatten().topk(count).indices] = True
    largest = largest.reshape(weight.shape)
    clustered, *others = (each.project(weight) for each in sets)
    return torch.where(largest, others[0], clustered) if others else clustered, largest


def _trained(
    model: nn.Module, train: dict[str, Any], recipe: recipes.Recipe, seed: int, images: data.Data
) -> dict[str, Any]:
    """What training the centroids makes of the accuracy; `model` is changed."""
    history = fit(
        model, images, train["epochs"], lr=train["lr"], batch_size=recipe["batch_size"],
        precision=train.get("precision", recipe["precision"]), seed=1000 * seed + recipes.epochs(recipe),
        augment=data.Shifts(recipe["shift_pixels"]) if recipe["shift_pixels"] else None,
    )  # fmt: skip
    test = evaluate(model, images.test)
    return {
        "after": {"val": _accuracy(model, images.val), "test": round(test.accuracy, 4)},
        "seconds": round(sum(epoch.seconds for epoch in history), 1),
        "test_correct": records.pack_bits(test.correct),
    }


@torch.no_grad()
def _accuracy(model: nn.Module, split: data.Split) -> float:
    return round(evaluate(model, split).accuracy, 4)
