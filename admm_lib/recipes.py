"""Recipes, data/recipes/NAME.yaml: what a full run does, checked whole before any work.

A recipe is committed before its final seeds are run; every choice in it was made on validation images.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from . import models
from .constraints import Sparse
from .names import resolve

Recipe = dict[str, Any]

FIELDS: dict[str, type] = {
    "name": str, "title": str, "model": str, "dataset": str, "track": str, "method": str,
    "seeds": list, "shift_pixels": int, "batch_size": int, "precision": str,
    "dense": dict, "keep": dict, "admm": dict, "retrain": dict,
}  # fmt: skip
OPTIONAL: dict[str, type] = {"distill": dict}
CHOICES: dict[str, tuple[str, ...]] = {
    "method": ("admm", "magnitude"),
    "track": ("from-lenet5", "from-lenet300", "free"),
    "model": tuple(models.ARCHITECTURES),
    "dataset": ("mnist", "digits"),
    "precision": ("32-true", "bf16-mixed"),
}
FIRST_SEED = 100
STAGES: dict[str, tuple[str, ...]] = {
    "dense": ("epochs", "lr"),
    "admm": ("epochs", "lr", "rho", "rho_growth"),
    "retrain": ("epochs", "lr"),
    "distill": ("temperature", "weight"),
}


def read_recipe(path: str | Path) -> Recipe:
    """A recipe, checked whole before any work: fields, types, names, layers and budgets.

    Raises FileNotFoundError, or ValueError naming the file, the field and the remedy.
    """
    path = Path(path)
    try:
        recipe = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path.name} is not YAML: {' '.join(str(error).split())}") from None
    for problem in _problems(recipe, path.stem):
        raise ValueError(f"{path.name}: {problem}")
    return recipe


def _problems(recipe: object, stem: str) -> Iterator[str]:
    """What is wrong with a recipe; each line may rely on the ones before it being in order."""
    if not isinstance(recipe, dict):
        yield "a recipe is a mapping of fields"
    known = FIELDS | OPTIONAL
    for name in sorted(FIELDS.keys() | recipe.keys()):
        if name not in known:
            yield f"unknown field {name!r}; the fields are {', '.join(known)}"
        if name not in recipe:
            yield f"the field {name!r} is missing"
        if not isinstance(recipe[name], known[name]):
            yield f"{name} must be a {known[name].__name__}, but is {recipe[name]!r}"
    yield from _misnumbered(recipe)
    if recipe["name"] != stem:
        yield f"name is {recipe['name']!r}, but must be the file's, {stem!r}"
    for name, known in CHOICES.items():
        if recipe[name] not in known:
            yield f"{name} must be one of {', '.join(known)}, but is {recipe[name]!r}"
    yield from _misstaged(recipe)
    if recipe["track"] not in (f"from-{recipe['model']}", "free"):
        yield f"track must be from-{recipe['model']} or free, but is {recipe['track']!r}"
    yield from _misfits(recipe["model"], recipe["keep"])


def _misstaged(recipe: Recipe) -> Iterator[str]:
    """What is wrong with the stages of training."""
    for stage, fields in STAGES.items():
        if stage not in recipe:  # an optional one
            continue
        if set(recipe[stage]) != set(fields):
            found = ", ".join(recipe[stage]) or "nothing"
            yield f"{stage} needs exactly {', '.join(fields)}, but has {found}"
        for name, value in recipe[stage].items():
            if type(value) not in ((int,) if name == "epochs" else (int, float)) or value <= 0:
                yield f"{stage}: {name} must be a positive number, but is {value!r}"
            elif name == "weight" and value > 1:
                yield f"{stage}: weight is the teacher's share of the loss, at most 1, but is {value!r}"


def _misnumbered(recipe: Recipe) -> Iterator[str]:
    """What is wrong with seeds and sizes."""
    seeds = recipe["seeds"]
    whole = all(type(seed) is int and seed >= FIRST_SEED for seed in seeds)
    if not seeds or not whole or len(set(seeds)) < len(seeds):
        yield f"seeds must be different whole numbers from {FIRST_SEED} on (lower ones tune), not {seeds}"
    if recipe["batch_size"] < 1 or recipe["shift_pixels"] < 0:
        yield "batch_size must be 1 or more, and shift_pixels 0 or more"


def _misfits(model: str, keep: dict[str, int]) -> Iterator[str]:
    """What is wrong with the budgets."""
    if not keep:
        yield "keep names no layer"
    network = models.create(model, seed=0)
    try:
        for name, count in keep.items():
            Sparse(keep=count).check(getattr(*resolve(network, name)).numel(), name)
    except (ValueError, TypeError) as error:
        yield str(error)
