"""Recipes, data/recipes/NAME.yaml: what a full run does, checked whole before any work.

A recipe is committed before its final seeds are run. Its choices were made on validation images; where one
was not, the recipe's own comment says where it comes from. `form` has the fields, `checks` and
`allocated` what may be wrong.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import files
from .changes import PROFILES, changed, meant, shortened
from .checks import problems
from .form import (
    BUDGETS,
    CHOICES,
    Recipe,
    epochs,
    for_bytes,
    given_sets,
    prune_sets,
    prunes,
    quantizes,
    ranks,
    sets,
    steps,
    structured,
)

__all__ = [
    "BUDGETS", "CHOICES", "PROFILES", "Recipe", "epochs", "for_bytes", "given_sets", "prune_sets", "prunes",
    "quantizes", "ranks", "read", "sets", "steps", "structured",
]  # fmt: skip


def read(path: str | Path, changes: Mapping[str, Any] | None = None, profile: str = "paper") -> Recipe:
    """A recipe, checked whole before any work: fields, types, names, layers and budgets.

    With `changes` (see `changed`) or for a shorter `profile` (see `shortened`) it has another name. Raises
    FileNotFoundError, or ValueError naming the file, the field and the remedy.
    """
    path = Path(path)
    recipe = files.read_yaml(path)
    files.check(problems(recipe, path.stem), path)
    if changes:
        hint = meant(recipe, changes)
        recipe = changed(recipe, changes)
        files.check(problems(recipe, recipe.get("name")), path, hint)
    if profile != "paper":
        recipe = shortened(recipe, profile)
        files.check(problems(recipe, recipe["name"]), path)
    return recipe
