"""The fields of a recipe, and what they mean: its steps, their sets, their epochs."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from .. import allocation, data, models, quantization
from ..admm import Key
from ..constraints import Constraint, LowRank, Sparse
from ..intersection import Both

Recipe = dict[str, Any]

FIELDS: dict[str, type] = {
    "name": str, "title": str, "model": str, "dataset": str, "track": str, "method": str,
    "seeds": list, "shift_pixels": int, "batch_size": int, "precision": str,
    "dense": dict,
}  # fmt: skip
# Fields of a one-shot recipe itself, or of each of its `steps`: two stages of training, and either budgets,
# `keep` of groups seen as `by` and `group` say, or a rule that allocates them when the weights are there, or
# `sets` of few values, each as {set: levels, bits: 3}; or keep and sets, `joint` as one of JOINT says. A rule
# allocates at a ratio, or for a file of so many `bytes`, and then levels of `bits` as well: the last step's.
# The rule "given" goes by the step's own keep and sets, and changes all of keep by one factor. Layers of
# low rank, {set: low-rank, rank: 20}, are stored as two: the rival of pruning, in a recipe of its own.
STEP: dict[str, type] = {"admm": dict, "retrain": dict}
BUDGETS: dict[str, type] = {
    "keep": dict, "by": str, "group": int | list, "allocation": dict, "sets": dict, "joint": str
}  # fmt: skip
# What ADMM does under both: one pair of variables, for the intersection; a pair for each; or it prunes
# alone, and what it leaves takes on few values afterwards, as in layers that had been quantized before.
JOINT = ("intersection", "pairs", "pruning")
SETS: dict[str, type] = {
    "clusters": quantization.Clusters, "levels": quantization.Levels, "powers": quantization.PowerOfTwo,
    "ternary": quantization.Ternary, "binary": quantization.Binary, "low-rank": LowRank,
}  # fmt: skip
# `study` names the comparison of which the recipe is an arm; it is no headline then. `finish` says how ADMM's
# weights become quantized, where they are not simply projected: by which of its rivals, while retraining.
# `flip` mirrors half of the images as well; `sgd`, {momentum: 0.9, weight_decay: 0.0005}, takes Adam's place.
OPTIONAL: dict[str, type] = {
    **STEP, **BUDGETS, "steps": list, "distill": dict, "search": dict, "study": str, "finish": str,
    "flip": bool, "sgd": dict,
}  # fmt: skip
FINISHES = ("incremental", "straight-through")
CHOICES: dict[str, tuple[str, ...]] = {
    "method": ("admm", "hard-thresholding", "magnitude", "snap", "incremental", "straight-through", "opq"),
    "track": (*(f"from-{name}" for name in models.ARCHITECTURES), "free"),
    "model": tuple(models.ARCHITECTURES),
    "dataset": tuple(name for name in data.NAMES if name != "auto"),
    "precision": ("32-true", "bf16-mixed"),
}
FIRST_SEED = 100
STAGES: dict[str, tuple[str, ...]] = {
    "dense": ("epochs", "lr"),
    "admm": ("epochs", "lr", "rho"),
    "retrain": ("epochs", "lr"),
    "distill": ("temperature", "weight"),
    "search": ("width",),
    "sgd": ("momentum", "weight_decay"),
}
# Fields that a stage may have as well; ADMM has one of the first two. Training the shrunk network gives up
# the weights on dead paths, which may leave fewer nonzeros than the budget allows. `precision` is the
# recipe's unless a stage has its own; `shares` are those of `incremental` unless given, rising up to 1.
SPECIAL: dict[str, tuple[str, ...]] = {
    "dense": ("dropout",), "admm": ("rho_growth", "balance", "shrink", "precision"),
    "retrain": ("shrink", "precision", "shares"),
}  # fmt: skip


def steps(recipe: Recipe) -> list[dict[str, dict]]:
    """The steps of pruning, each with its budgets, `admm` and `retrain`; the recipe itself is the only one
    of a one-shot recipe.
    """
    fields = [name for name in (*BUDGETS, *STEP) if name in recipe]
    return recipe["steps"] if "steps" in recipe else [{name: recipe[name] for name in fields}]


def for_bytes(step: dict[str, Any]) -> bool:
    """Whether a step's rule allocates for a file of so many bytes, which it also quantizes for."""
    return "bytes" in step.get("allocation", {})


def prunes(recipe: Recipe) -> bool:
    """Whether any step prunes; where none does, weights are quantized alone."""
    return any("sets" not in step or "keep" in step for step in steps(recipe))


def structured(recipe: Recipe) -> bool:
    """Whether it prunes whole groups that leave a smaller dense layer, and does nothing else."""
    whole = ("filter", "channel", "column")
    return all(step.get("by") in whole and "sets" not in step for step in steps(recipe))


def quantizes(recipe: Recipe) -> bool:
    """Whether any step gives weights few values."""
    return not ranks(recipe) and any("sets" in step or for_bytes(step) for step in steps(recipe))


def sets(step: dict[str, Any], network: nn.Module) -> dict[Key, Constraint | Sequence[Constraint]]:
    """The sets of a step for ADMM: its budgets, what its rule allocates on the weights of `network`, its
    `sets`, or both, joined as it says.
    """
    budgets, few = prune_sets(step, network), given_sets(step)
    match step.get("joint"):
        case "intersection":
            return budgets | {
                name: Both(budgets[name], each) if name in budgets else each for name, each in few.items()
            }
        case "pairs":
            return budgets | {
                name: [budgets[name], each] if name in budgets else each for name, each in few.items()
            }
        case "pruning":
            return budgets
    return budgets or few


def prune_sets(step: dict[str, Any], network: nn.Module) -> dict[Key, Sparse]:
    """The budgets of a step, given or allocated on the weights of `network`; none where it prunes nothing."""
    if "allocation" in step and not for_bytes(step):
        return allocation.RULES[step["allocation"]["rule"]](network, step["allocation"]["ratio"])
    view = step.get("by", "element"), step.get("group")
    return {name: Sparse(keep, None, *view) for name, keep in step.get("keep", {}).items()}


def given_sets(step: dict[str, Any]) -> dict[str, Constraint]:
    """The `sets` of a step by layer; none where it only prunes. ValueError for an unknown set."""
    found = {}
    for name, each in step.get("sets", {}).items():
        if each["set"] not in SETS:
            raise ValueError(f"set must be one of {', '.join(SETS)}, but is {each['set']!r}")
        arguments = {key: value for key, value in each.items() if key != "set"}
        found[name] = SETS[each["set"]](**arguments)
    return found


def ranks(recipe: Recipe) -> dict[str, int]:
    """The ranks of the layers that become low-rank; none in most recipes."""
    found = {name: each for step in steps(recipe) for name, each in given_sets(step).items()}
    return {
        name.removesuffix(".weight"): each.rank for name, each in found.items() if isinstance(each, LowRank)
    }


def epochs(recipe: Recipe) -> int:
    """The epochs of training in all, dense ones included; the same for every method.

    A tree search is charged with every child it tries: one per step at first, then `width` of them.
    """
    each = [step["admm"]["epochs"] + step["retrain"]["epochs"] for step in steps(recipe)]
    width = recipe.get("search", {"width": len(each)})["width"]
    return recipe["dense"]["epochs"] + sum(each[:width]) + width * sum(each[width:])
