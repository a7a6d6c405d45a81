"""Recipes, data/recipes/NAME.yaml: what a full run does, checked whole before any work.

A recipe is committed before its final seeds are run. Its choices were made on validation images; where one
was not, the recipe's own comment says where it comes from. `form` has the fields, `checks` and
`allocated` what may be wrong.
"""

from pathlib import Path

import yaml

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
    "BUDGETS", "CHOICES", "Recipe", "epochs", "for_bytes", "given_sets", "prune_sets", "prunes", "quantizes",
    "ranks", "read", "sets", "steps", "structured",
]  # fmt: skip


def read(path: str | Path) -> Recipe:
    """A recipe, checked whole before any work: fields, types, names, layers and budgets.

    Raises FileNotFoundError, or ValueError naming the file, the field and the remedy.
    """
    path = Path(path)
    try:
        recipe = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path.name} is not YAML: {' '.join(str(error).split())}") from None
    for problem in problems(recipe, path.stem):
        raise ValueError(f"{path.name}: {problem}")
    return recipe
