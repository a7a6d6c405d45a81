"""Which stages of training a recipe has: dense, ADMM, retraining, or a rival of ADMM."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from . import byte_budget, recipes
from .recipes import Recipe


@dataclass(frozen=True)
class Stage:
    """What a stage does, and its settings: rates, epochs, budgets, data, as the recipe says."""

    name: str
    settings: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Done:
    """A finished stage: its network, plain, and its origin (seconds, provenance, and per epoch the training
    loss and the validation accuracy, under ADMM of projected weights).
    """

    stage: Stage
    network: nn.Module
    origin: dict[str, Any]


def dense(recipe: Recipe) -> Stage:
    """The first stage, which trains the network that is to be pruned."""
    return Stage("dense", {**_shared(recipe), **recipe["dense"]})


def of_step(recipe: Recipe, step: dict[str, dict]) -> list[Stage]:
    """The stages of a step: ADMM and retraining, or the one stage of a rival, which gets the epochs of both.

    "magnitude" (for budgets) and "snap" (for sets of few values; those of "magnitude", too) project the
    weights at once and retrain; "hard-thresholding" (two stages, as ADMM), "incremental" and
    "straight-through": see `rivals`. The last two may also `finish` what ADMM began, in place of its
    projection. Sources: 1804.03294, Section 4 (ADMM); 1811.01907, Section 3.4 (ADMM, then incremental);
    1510.00149, Sections 2 and 3 (magnitude, then snap).
    """
    shared = _shared(recipe) | ({"distill": recipe["distill"]} if "distill" in recipe else {})
    shared |= {name: step[name] for name in recipes.BUDGETS if name in step}
    if recipes.for_bytes(step):
        return [Stage(*each) for each in byte_budget.parts(recipe, step, shared)]
    if "finish" in recipe and "sets" in step:
        open_end = {"finish": recipe["finish"]}  # what comes next, so that nothing is projected before
        first = Stage("admm", shared | step["admm"] | open_end)
        return [first, Stage(recipe["finish"], shared | step["retrain"])]
    if recipe["method"] in ("admm", "hard-thresholding"):
        return [
            Stage(recipe["method"], {**shared, **step["admm"]}),
            Stage("retrain", {**shared, **step["retrain"]}),
        ]
    epochs = step["admm"]["epochs"] + step["retrain"]["epochs"]
    name = "snap" if recipe["method"] == "magnitude" and "sets" in step else recipe["method"]
    return [Stage(name, {**shared, **step["retrain"], "epochs": epochs})]


def _shared(recipe: Recipe) -> dict[str, Any]:
    names = ("model", "dataset", "shift_pixels", "batch_size", "precision")
    return {name: recipe[name] for name in (*names, *({"flip", "sgd"} & recipe.keys()))}
