"""One-shot pruning and quantization: thresholds and steps of all layers solved at once, then held.

Source: OPQ, 2205.11141, of which only the abstract was read; the solution here is that of `laplace`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from . import laplace
from .allocation import plain, prunable
from .codec.steps import find_step, multiples_of
from .quantization import Levels
from .rivals import straight_through

STEP_BITS = 32  # a step in a table of codebooks
WIDTH_BITS = 3  # a label's width, 1 to 8


@dataclass(frozen=True)
class Layer:
    """A layer's solution: weights below the threshold `beta` go; the others are multiples of `step`.

    `keep` is how many of them stay if the fit is right, `bits` those of a label.
    """

    fit: laplace.Fit
    beta: float
    keep: float
    step: float
    bits: int


def solve(
    model: nn.Module, ratio: float, bits: float = 3, error: laplace.Error = "remaining"
) -> dict[str, Layer]:
    """The solution of all layers at `ratio` weights per nonzero weight and a mean of `bits` a kept weight.

    From the weights alone, in one pass over them; see `laplace.thresholds` and `laplace.steps`. Raises
    ValueError for a ratio of 1 or less, one that asks for more weights than are nonzero, and as these do.
    """
    if not 1 < ratio < math.inf:
        raise ValueError(f"ratio is weights per nonzero weight, above 1, but is {ratio!r}")
    weights = prunable(model)
    fits = laplace.fits(weights)
    total = sum(weight.numel() for weight in weights.values())
    there = sum(each.count for each in fits.values())
    if total / ratio >= there:
        raise ValueError(f"only {there:,} of {total:,} weights are nonzero: raise ratio={ratio:g}")
    betas, steps, widths = laplace.solve(fits, 1 - total / ratio / there, bits, error)
    return {
        name: Layer(each, beta, each.count * math.exp(-beta / each.tau), steps[name], widths[name])
        for (name, each), beta in zip(fits.items(), betas.values(), strict=True)
    }


def expected_bits(solved: Mapping[str, Layer]) -> tuple[float, float]:
    """What the solution takes if the fits are right: bits of labels, and bits of positions.

    Entropies, sum_i k_i `laplace.label_bits` and sum_i n_i H2(k_i / n_i).
    """
    labels = sum(
        each.keep * laplace.label_bits(each.beta, each.step, 2 ** (each.bits - 1), each.fit.tau)
        for each in solved.values()
    )
    where = (each.fit.count * laplace.position_bits(each.beta, each.fit.tau) for each in solved.values())
    return labels, sum(where)


@torch.no_grad()
def hold(model: nn.Module, solved: Mapping[str, Layer]) -> nn.Module:
    """Prune and quantize as solved, in place, and hold masks and steps while the network is fine-tuned.

    The network computes with multiples of each layer's step; the gradient goes straight through to the
    weights behind them (`rivals.straight_through`). `bake` ends it. Raises ValueError, before any change, as
    `allocation.project`.
    """
    weights = {name: plain(model, name) for name in solved}
    for name, each in solved.items():
        weights[name].masked_fill_(weights[name].abs() < each.beta, 0)
    straight_through(model, {name: Levels(each.bits, step=each.step) for name, each in solved.items()})
    return model


@dataclass(frozen=True)
class Codebooks:
    """What codebooks of one way cost a layer: mean squared error of the kept weights, bits of labels, and
    bits besides, of steps and widths.
    """

    error: float
    labels: int
    besides: int


def codebooks(weight: Tensor, bits: int) -> dict[str, Codebooks]:
    r"""One codebook for a layer, one whose labels are as wide as each channel needs, and one per channel.

    "layer": levels of one step (`Levels(bits)`), labels of `bits`. "unified": the same values; a channel
    whose largest is the m-th level has labels of 1 + ceil(log2 m) bits, and WIDTH_BITS say so. "channel":
    levels of a step for each channel (`per="channel"`), and STEP_BITS for each. Labels of fixed width, as
    hardware reads them; positions are the same in all three. Source: OPQ's unified channel-wise
    quantization, 2205.11141, as its abstract describes it. Raises ValueError where no weight is left.
    """
    weight = weight.detach().flatten(1)
    kept = weight != 0
    if not bool(kept.any()):
        raise ValueError("a layer of zeros needs no codebook")
    count, live = int(kept.sum()), int(kept.any(1).sum())
    one, own = Levels(bits).project(weight), Levels(bits, per="channel").project(weight)
    step = find_step(one[kept])
    largest = multiples_of(step, one.abs().amax(1)).tolist()  # level of each channel
    widths = [1 + math.ceil(math.log2(max(1, multiple))) for multiple in largest]
    unified = sum(width * int(row.sum()) for width, row in zip(widths, kept, strict=True))

    def error(found: Tensor) -> float:
        return (found - weight)[kept].double().square().mean().item()

    return {
        "layer": Codebooks(error(one), bits * count, STEP_BITS),
        "unified": Codebooks(error(one), unified, STEP_BITS + WIDTH_BITS * len(weight)),
        "channel": Codebooks(error(own), bits * count, STEP_BITS * live),
    }
