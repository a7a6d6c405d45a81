"""How much each layer keeps, and at how many bits, where the whole file is to have so many bytes."""

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn

from .. import codec, laplace
from ..admm import Key
from ..constraints import Constraint, Sparse
from ..intersection import Both
from ..names import resolve
from ..parametrizations import bake
from ..quantization import Levels
from ..shrink import pack, runs_in_turn
from .rules import RULES, prunable

BIAS = Levels(6, digits=7)  # of all biases: more bits were never needed
DIGITS = 7  # of a step, which a file holds
CLOSE = 0.99  # of the budget is near enough
TRIES = 30  # of ratios, at most; five are usual


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
            keep = f"{self.sparse[name].keep:,}" if name in self.sparse else "all"
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
    budget, and never above it: within 1% unless the next weight, or the file of all weights, is farther.
    Rules of Laplace also give each layer its own bits, a mean of `bits` a kept weight by `laplace.steps`, and
    with `analytic` the steps themselves, as in OPQ, where else the best step for the weights is looked for;
    other rules give all the same bits. Biases have 6. The model stays as it is. Training changes which
    weights stay, and so the file: `fitted` comes back to the budget. Raises ValueError for an unknown rule,
    bits below 1, a budget that not even a weight in each layer would meet, and as the rule does.
    """
    if rule not in RULES:
        raise ValueError(f"rule must be one of {', '.join(RULES)}, but is {rule!r}")
    weights = prunable(model)
    total = sum(weight.numel() for weight in weights.values())
    few = _levels(model, rule, bits, analytic)

    def at(ratio: float) -> Plan | None:
        """The plan of a ratio; None for one so high that a layer is left without a weight."""
        try:
            sparse = RULES[rule](model, ratio)
        except ValueError as error:
            if "would leave" not in str(error):
                raise
            return None
        return _measured(model, sparse, few(ratio), ready)

    return _closest(at, budget, total)


def fitted(
    model: nn.Module,
    plan: Plan,
    budget: int,
    ready: Callable[[nn.Module], nn.Module] | None = None,
) -> Plan:
    """The plan with all budgets changed by one factor, so that the weights make a file of `budget` bytes now.

    For weights that ADMM has trained; arguments and errors as for `for_bytes`. No budget falls below 1.
    """
    sizes = {name: weight.numel() for name, weight in prunable(model).items()}
    counts = {
        key: sizes[key] if isinstance(key, str) else sum(sizes[name] for name in key) for key in plan.sparse
    }
    total, kept = sum(counts.values()), sum(each.keep for each in plan.sparse.values())

    def at(ratio: float) -> Plan | None:
        factor = total / ratio / kept
        keep = {key: math.floor(factor * each.keep + 0.5) for key, each in plan.sparse.items()}
        if sum(keep.values()) < len(keep) and min(keep.values()) == 0:
            return None
        sparse = {key: Sparse(keep=min(counts[key], max(1, each))) for key, each in keep.items()}
        return _measured(model, sparse, plan.few, ready)

    return _closest(at, budget, total)


def levels_of(bits: Mapping[str, int]) -> dict[str, Levels]:
    """Levels by name, as a plan has them: with a step that is short in a file."""
    return {name: Levels(each, digits=DIGITS) for name, each in bits.items()}


@torch.no_grad()
def projected(
    model: nn.Module, plan: Plan, ready: Callable[[nn.Module], nn.Module] | None = None
) -> nn.Module:
    """A plain copy of the model with its weights on the plan's sets, as the file of the plan holds it.

    Then comes `ready`, by default `shrink.pack` where the network's layers run in turn, and biases that took
    up a constant on the way are quantized again.
    """
    network = bake(copy.deepcopy(model))
    project(network, plan.sparse, plan.few)
    if ready is None and runs_in_turn(network):
        ready = pack
    if ready is not None:
        network = ready(network)
        project(network, {}, plan.few)
    return network


@torch.no_grad()
def project(model: nn.Module, sparse: Mapping[Key, Sparse], few: Mapping[str, Constraint]) -> None:
    """Budgets first, then levels for what stays; in place."""
    for key, each in sparse.items():
        owners = [resolve(model, name) for name in ([key] if isinstance(key, str) else key)]
        tensors = [getattr(*owner) for owner in owners]
        joined = tensors[0] if len(tensors) == 1 else torch.cat([tensor.reshape(-1) for tensor in tensors])
        chosen = each.chosen(joined).reshape(-1).split([tensor.numel() for tensor in tensors])
        for tensor, mask in zip(tensors, chosen, strict=True):
            tensor.masked_fill_(~mask.reshape(tensor.shape), 0)
    for name, each in few.items():
        tensor = getattr(*resolve(model, name))
        tensor.copy_(each.project(tensor))


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
) -> Callable[[float], dict[str, Levels]]:
    """The levels of all weights and biases, by ratio."""
    weights = prunable(model)
    biases = {
        name.removesuffix("weight") + "bias": BIAS
        for name in weights
        if getattr(resolve(model, name)[0], "bias", None) is not None
    }
    if not rule.startswith("laplace-"):
        if type(bits) is not int:
            raise ValueError(f"rule {rule} gives all layers the same whole number of bits, not {bits!r}")
        return lambda ratio: levels_of(dict.fromkeys(weights, bits)) | biases
    error: laplace.Error = rule.removeprefix("laplace-")  # a rule's name says which
    fits = {name: laplace.fit(weight) for name, weight in weights.items()}

    def by_steps(ratio: float) -> dict[str, Levels]:
        betas = laplace.thresholds(fits, 1 - 1 / max(ratio, 1 + 1e-9), error)
        found = laplace.steps(fits, betas, bits, error)
        given = found if analytic else dict.fromkeys(found)
        bits_of = laplace.widths(fits, found)
        return {name: Levels(bits_of[name], digits=DIGITS, step=given[name]) for name in fits} | biases

    return by_steps


def _closest(at: Callable[[float], Plan | None], budget: int, total: int) -> Plan:
    """The largest plan within the budget, and close to it: the ratio's logarithm by falling bytes, which are
    nearly as one over the ratio, or else by bisection.
    """
    low, high = 0.0, math.log(total)  # too large, and too small or impossible
    x = min(max(math.log(2 * total / budget), low), high)  # two bytes a weight, to begin with
    best = least = None
    for _ in range(TRIES):
        found = at(math.exp(x))
        if found is None:
            high, following = x, low
        else:
            following = x + math.log(2 * found.file_bytes / (1 + CLOSE) / budget)
            if found.file_bytes > budget:
                low, least = x, found
            else:
                best, high = found, x
                if found.file_bytes >= CLOSE * budget or x == 0:
                    break
        if low == 0 and following <= 0 and found is not None:
            x = 0.0  # all of it may fit
        else:
            x = following if low < following < high else (low + high) / 2
    if best is None:
        raise ValueError(
            f"a budget of {budget:,} bytes is too small: with hardly a weight in some layer the file has "
            f"{least.file_bytes:,}"
        )
    return best
