"""How much each layer keeps, and at how many bits, where the whole file is to have so many bytes."""

import copy
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

import torch
from torch import nn

from .. import codec, laplace
from ..constraints import Constraint, Sparse
from ..holding import bake
from ..intersection import Both
from ..names import resolve
from ..pairs import Key, names_of
from ..quantization import Levels
from ..shrink import pack, runs_in_turn
from .rules import RULES, TooSparse, plain, prunable

DIGITS = 7  # of a step, which a file holds
BIAS = Levels(6, digits=DIGITS)  # of all biases
CLOSE = 0.99  # of the budget is near enough
TRIES = 40  # of ratios, at most; five are usual
GUESSES = 6  # of them by falling bytes; then come halves


@dataclass(frozen=True)
class Plan:
    """Budgets and levels of all layers, and the bytes of the file that the projected weights make.

    `sparse` are the budgets of weights by layer, or of all layers together; `few` the levels of every weight
    and bias that is quantized.
    """

    sparse: dict[Key, Sparse]
    few: dict[str, Levels]
    file_bytes: int

    @property
    def sets(self) -> dict[Key, Constraint]:
        """The sets as `ADMM` takes them: the intersection of budget and levels where a layer has both."""
        joint = {
            name: Both(self.sparse[name], each) if name in self.sparse else each
            for name, each in self.few.items()
        }
        return {**self.sparse, **joint}

    def __str__(self) -> str:
        rows = [f"{'layer':<24}{'keep':>12}{'bits':>6}"]
        names = [*self.sparse, *(name for name in self.few if name not in self.sparse)]
        for name in names:
            budget = self.sparse.get(name)
            keep = "all"
            if budget is not None:
                keep = f"{budget.keep:,}" if budget.ratio is None else f"1 in {budget.ratio:g}"
            bits = self.few[name].bits if name in self.few else ""
            rows.append(f"{name if isinstance(name, str) else 'all layers together':<24}{keep:>12}{bits:>6}")
        return "\n".join([*rows, f"expected: a file of {self.file_bytes:,} bytes"])


def for_bytes(
    model: nn.Module,
    budget: int,
    rule: str = "laplace-remaining",
    bits: float = 3,
    ready: Callable[[nn.Module], nn.Module] | None = None,
    analytic: bool = False,
) -> Plan:
    r"""How much each layer keeps, and at how many bits, so that the whole file has at most `budget` bytes.

    Positions, biases and header are charged: each trial's weights are projected onto its sets and written as
    a file would be (see `projected`, for `ready` too), at the ratio of `rule` that comes out closest to the
    budget, and never above it: within 1% unless the bytes jump there, or the file of all weights is smaller.
    Rules of Laplace also give each layer its own bits, a mean of `bits` a kept weight by `laplace.steps`, and
    with `analytic` the steps themselves, as in OPQ, where else the best step for the weights is looked for;
    other rules give all the same bits. Biases have 6. The model stays as it is. Training changes which
    weights stay, and so the file: `fitted` comes back to the budget. Raises ValueError for an unknown rule,
    bits outside 1 to 8 (whole ones, and no `analytic`, without Laplace), a budget that is no whole number or
    that not even a weight in each layer would meet, and as the rule does.

    >>> plan = al.allocation.for_bytes(nn.Sequential(nn.Linear(40, 20)), budget=200, rule="lamp")
    >>> plan.file_bytes <= 200, plan.sets["0.weight"].few
    (True, Levels(bits=3, per='layer', digits=7, step=None))
    """
    if rule not in RULES:
        raise ValueError(f"rule must be one of {', '.join(RULES)}, but is {rule!r}")
    if analytic and not rule.startswith("laplace-"):
        raise ValueError(f"rule {rule} has no steps of its own: leave analytic out, or take a laplace- rule")
    few = _levels(model, rule, bits, analytic)

    def at(ratio: float) -> Plan | None:
        """The plan of a ratio; None for one so high that a layer is left without a weight."""
        try:
            sparse = RULES[rule](model, ratio)
        except TooSparse:
            return None
        return _measured(model, sparse, few(sum(each.keep for each in sparse.values())), ready)

    return _closest(at, budget, model)


def fitted(
    model: nn.Module,
    plan: Plan,
    budget: int,
    ready: Callable[[nn.Module], nn.Module] | None = None,
) -> Plan:
    """The plan with all budgets changed by one factor, so that the weights make a file of `budget` bytes now.

    For weights that ADMM has trained; arguments and errors as for `for_bytes`, and ValueError for budgets of
    groups, and none at all. No budget falls below 1.
    """
    sizes = {name: weight.numel() for name, weight in prunable(model).items()}
    if not plan.sparse or any(each.by != "element" for each in plan.sparse.values()):
        raise ValueError("the plan needs budgets, and of single weights: Sparse(keep=...) for each layer")
    counts = {key: sum(sizes[name] for name in names_of(key)) for key in plan.sparse}
    budgets = {key: each.budget(counts[key]) for key, each in plan.sparse.items()}
    total, kept = sum(counts.values()), sum(budgets.values())

    def at(ratio: float) -> Plan | None:
        keep = {key: math.floor(total / ratio / kept * each + 0.5) for key, each in budgets.items()}
        if sum(keep.values()) < len(keep):
            return None
        sparse = {key: Sparse(keep=min(counts[key], max(1, each))) for key, each in keep.items()}
        return _measured(model, sparse, plan.few, ready)

    return _closest(at, budget, model)


def levels_of(bits: Mapping[str, int]) -> dict[str, Levels]:
    """Levels by name, as a plan has them: with a step that is short in a file.

    >>> al.allocation.levels_of({"fc1.weight": 3})
    {'fc1.weight': Levels(bits=3, per='layer', digits=7, step=None)}
    """
    return {name: Levels(each, digits=DIGITS) for name, each in bits.items()}


@torch.no_grad()
def projected(
    model: nn.Module, plan: Plan, ready: Callable[[nn.Module], nn.Module] | None = None
) -> nn.Module:
    """A plain copy of the model with its weights on the plan's sets, as the file of the plan holds it.

    Then comes `ready`, by default `shrink.pack` where that is possible, and biases that took up a constant on
    the way are quantized again. Raises ValueError, before any change, as `project`.
    """
    network = bake(copy.deepcopy(model))
    project(network, plan.sparse, plan.few)
    if ready is not None:
        network = ready(network)
    elif runs_in_turn(network):
        with suppress(ValueError):  # a constant that no bias can take up: nothing was changed then
            pack(network)
    project(network, {}, plan.few)
    return network


@torch.no_grad()
def project(model: nn.Module, sparse: Mapping[Key, Sparse], few: Mapping[str, Constraint]) -> None:
    """Budgets first, then levels for what stays; in place.

    Raises ValueError, before any change, for an unknown layer, one that is held by a constraint already, and
    weights that are not finite.

    >>> model = nn.Linear(4, 1)
    >>> model.weight.data = torch.tensor([[3.0, -1, 0.5, 2]])
    >>> al.allocation.project(model, {"weight": al.Sparse(keep=2)}, {"weight": al.Binary()})
    >>> model.weight.tolist()
    [[2.5, 0.0, 0.0, 2.5]]
    """
    names = {name for key in sparse for name in names_of(key)}
    tensors = {name: plain(model, name) for name in (*names, *few)}
    for key, each in sparse.items():
        mine = [tensors[name] for name in names_of(key)]
        joined = mine[0] if len(mine) == 1 else torch.cat([tensor.reshape(-1) for tensor in mine])
        chosen = each.chosen(joined).expand_as(joined).reshape(-1).split([tensor.numel() for tensor in mine])
        for tensor, mask in zip(mine, chosen, strict=True):
            tensor.masked_fill_(~mask.reshape(tensor.shape), 0)
    for name, each in few.items():
        tensors[name].copy_(each.project(tensors[name]))


def _measured(
    model: nn.Module,
    sparse: dict[Key, Sparse],
    few: dict[str, Levels],
    ready: Callable[[nn.Module], nn.Module] | None,
) -> Plan:
    """The plan with the bytes of its file."""
    plan = Plan(sparse, few, 0)
    return replace(plan, file_bytes=len(codec.encode(projected(model, plan, ready))))


def _levels(
    model: nn.Module, rule: str, bits: float, analytic: bool
) -> Callable[[int], dict[str, Levels]]:
    """The levels of all weights and biases, by how many weights stay."""
    weights = prunable(model)
    biases = {
        name.removesuffix("weight") + "bias": BIAS
        for name in weights
        if getattr(resolve(model, name)[0], "bias", None) is not None
    }
    if not rule.startswith("laplace-"):
        if type(bits) is not int:
            raise ValueError(f"rule {rule} gives all layers the same whole number of bits, not {bits!r}")
        return lambda kept: levels_of(dict.fromkeys(weights, bits)) | biases
    error: laplace.Error = rule.removeprefix("laplace-")  # a rule's name says which
    fits = laplace.fits(weights)
    there = sum(each.count for each in fits.values())

    def by_steps(kept: int) -> dict[str, Levels]:
        _, steps, widths = laplace.solve(fits, max(1 - kept / there, 1e-9), bits, error)
        given = steps if analytic else dict.fromkeys(steps)
        return {name: Levels(widths[name], digits=DIGITS, step=given[name]) for name in fits} | biases

    return by_steps


def _closest(at: Callable[[float], Plan | None], budget: int, model: nn.Module) -> Plan:
    """The largest plan within the budget that is found by trying ratios: the next one by falling bytes, which
    are nearly as one over the ratio, and halves of what is left between too large and too small.
    """
    if not (type(budget) is int and budget >= 1):
        raise ValueError(f"a budget is a whole number of bytes, 1 or more, but is {budget!r}")
    weights = prunable(model).values()
    if sum(int(weight.count_nonzero()) for weight in weights) <= 8 * budget:  # all of them may fit
        whole = at(1.0)
        if whole.file_bytes <= budget:
            return whole
    total = sum(weight.numel() for weight in weights)
    low, high = 0.0, math.log(total)  # too large, and too small or impossible
    x = min(max(math.log(2 * total / budget), low), high)  # two bytes a weight, to begin with
    best = least = None
    for tried in range(TRIES):
        found = at(math.exp(x))
        if found is None:
            high, following = x, low
        else:
            following = x + math.log(2 * found.file_bytes / (1 + CLOSE) / budget)
            if found.file_bytes > budget:
                low, least = x, found
            else:
                high, best = x, max(found, best or found, key=lambda plan: plan.file_bytes)
                if found.file_bytes >= CLOSE * budget:
                    break
        x = following if tried < GUESSES and low < following < high else (low + high) / 2
    if best is None:
        least = least or at(1.0)  # any higher ratio leaves a layer without a weight
    if best is None and least.file_bytes > budget:
        kept = sum(each.keep for each in least.sparse.values())
        raise ValueError(
            f"a budget of {budget:,} bytes is too small: {kept:,} weights make {least.file_bytes:,} already"
        )
    return best or least
