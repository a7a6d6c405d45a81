"""What may be wrong with budgets that a rule allocates, at a ratio or for a file of so many bytes."""

import sys
from collections.abc import Iterator

from torch import nn

from .. import allocation
from ..admm import Key
from ..allocation.file_size import DIGITS
from ..constraints import Sparse
from ..laplace import MOST_BITS
from .form import Recipe, for_bytes, prune_sets, steps

LARGEST = sys.float_info.max  # a YAML file may have whole numbers that are no float any more


def known_budgets(step: Recipe, network: nn.Module) -> dict[Key, Sparse]:
    """The budgets of a step, as far as they are known before the weights are there."""
    if for_bytes(step):
        return {}
    if "allocation" not in step:
        return prune_sets(step, network)
    rule, ratio = (step["allocation"][name] for name in ("rule", "ratio"))
    layers = {} if rule in allocation.LOOKING else prune_sets(step, network)
    return allocation.together(network, ratio) | layers


def missized(recipe: Recipe) -> Iterator[str]:
    """What is wrong with a step that is to meet a file's size."""
    sized = [for_bytes(step) for step in steps(recipe)]
    by = recipe["method"], recipe.get("finish")
    if any(sized[:-1]):
        yield "allocation: bytes are those of the last step's file: give the steps before it a ratio"
    if any(sized) and by not in (("admm", "straight-through"), ("magnitude", None), ("opq", None)):
        yield (
            "allocation: for bytes, weights are quantized as well: method must be admm with finish "
            "straight-through, or magnitude or opq"
        )
    if recipe["method"] == "opq" and not (
        len(sized) == 1 and sized[0] and steps(recipe)[0]["allocation"]["rule"].startswith("laplace-")
    ):
        yield "method opq solves all at once for a file: give one step, allocation, a laplace- rule and bytes"


def misallocated(step: Recipe, network: nn.Module) -> Iterator[str]:
    """What is wrong with the rule that allocates the budgets."""
    found = step["allocation"]
    rule = found.get("rule")
    hand = rule == "given"
    if not isinstance(rule, str) or (rule not in allocation.RULES and not hand):
        yield f"allocation: rule must be one of {', '.join(allocation.RULES)}, given, but is {rule!r}"
    needed = {"rule", "bytes", "bits"} if "bytes" in found else {"rule", "ratio"}
    needed = {"rule", "bytes"} if hand else needed
    if set(found) != needed:
        yield f"allocation needs exactly {', '.join(sorted(needed))}, but has {', '.join(map(str, found))}"
    for name in needed - {"rule"}:
        whole = name == "bytes" or (name == "bits" and not rule.startswith("laplace-"))
        if type(found[name]) not in ((int,) if whole else (int, float)) or not 0 < found[name] <= LARGEST:
            yield (
                f"allocation: {name} must be a positive{' whole' * whole} number, but is {found[name]!r}"
            )
    if not 1 <= found.get("bits", 1) <= MOST_BITS:
        yield f"allocation: bits are from 1 to {MOST_BITS}, but are {found['bits']!r}"
    given = step.get("sets", {}).items() if hand else ()
    if odd := [name for name, each in given if (each["set"], each.get("digits")) != ("levels", DIGITS)]:
        yield f"sets: {odd[0]} needs levels of {DIGITS} digits under the rule given"
    if {"by", "group"} & set(step):
        yield "allocation: rules count single weights, so that by= has no place beside them"
    try:
        known_budgets(step, network)
    except ValueError as error:
        yield f"allocation: {error}"
