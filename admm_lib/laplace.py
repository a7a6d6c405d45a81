r"""Pruning and quantization errors of weights that follow a Laplace distribution, in closed form.

p(w) = exp(-|w| / tau) / (2 tau), with tau = mean |w|. Three numbers of each layer then say what pruning at a
threshold and quantizing by a step will cost, and the best thresholds and steps of all layers follow at once.
Source of that idea: OPQ, 2205.11141; the formulas below are derived here, since that paper's own were not
read.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Error = Literal["weight", "layer", "relative", "remaining"]
ERRORS: tuple[Error, ...] = ("weight", "layer", "relative", "remaining")
MOST_BITS = 8  # of a label
NEWTON = 8  # steps; six are enough for doubles
CHUNK = 1 << 18  # weights that are looked at together: they stay in the processor's cache


@dataclass(frozen=True)
class Fit:
    """A layer's weights as a Laplace distribution: how many, their scale tau, and the largest |w|."""

    count: int
    tau: float
    largest: float


def fit(weight: Tensor) -> Fit:
    """The distribution of largest likelihood: tau = mean |w|, zeros left out, since they were pruned.

    One pass over the weights. Raises ValueError for weights that are all zero, or not finite.

    >>> al.laplace.fit(torch.tensor([1.0, -2, 0, 3]))
    Fit(count=3, tau=2.0, largest=3.0)
    """
    count, total, largest = 0, 0.0, 0.0
    for chunk in weight.detach().reshape(-1).split(CHUNK):
        if len(chunk):
            magnitudes = chunk.abs()
            count += int(magnitudes.count_nonzero())
            total += magnitudes.sum(dtype=None if chunk.dtype == torch.float32 else torch.float64).item()
            largest = max(largest, magnitudes.max().item())
    if not (count and math.isfinite(total) and math.isfinite(largest)):
        raise ValueError("a fit needs nonzero weights, and finite ones: go back to a good checkpoint")
    return Fit(count, total / count, largest)


def fits(weights: Mapping[str, Tensor]) -> dict[str, Fit]:
    """The fit of each layer; ValueError as `fit`, with the layer's name."""
    found = {}
    for name, weight in weights.items():
        try:
            found[name] = fit(weight)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return found


def distance(weight: Tensor, found: Fit) -> float:
    """How far weights are from their fit: max |F(|w|) - (1 - exp(-|w| / tau))|, zeros left out.

    The distance of Kolmogorov and Smirnov: 0 is a perfect fit, 1 the farthest. O(n log n).
    """
    magnitudes = weight.detach().abs().double().reshape(-1)
    magnitudes = magnitudes[magnitudes > 0].sort().values
    below = -torch.expm1(-magnitudes / found.tau)
    steps = torch.arange(len(magnitudes) + 1, dtype=torch.float64, device=below.device) / len(magnitudes)
    return torch.maximum((steps[1:] - below).abs(), (steps[:-1] - below).abs()).max().item()


def pruned_share(beta: float, tau: float) -> float:
    """The share of weights with |w| < beta: 1 - exp(-beta / tau).

    >>> round(al.laplace.pruned_share(beta=1.0, tau=1.0), 4)
    0.6321
    """
    return -math.expm1(-beta / tau)


def pruning_error(beta: float, tau: float) -> float:
    """What pruning where |w| < beta adds to the mean squared error of a layer: E[w^2; |w| < beta].

    e(beta) = 2 tau^2 - (beta^2 + 2 beta tau + 2 tau^2) exp(-beta / tau). Below beta = tau / 100 the terms
    cancel, and the beginning of their series, beta^3 / 3 tau - beta^4 / 4 tau^2 + beta^5 / 10 tau^3, takes
    their place, which is right to 2e-7.

    >>> round(al.laplace.pruning_error(beta=1.0, tau=1.0), 4)  # 2 - 5 / e
    0.1606
    """
    if beta < tau / 100:
        return beta**3 / (3 * tau) - beta**4 / (4 * tau**2) + beta**5 / (10 * tau**3)
    return 2 * tau**2 - (beta**2 + 2 * beta * tau + 2 * tau**2) * math.exp(-beta / tau)


def quantization_error(step: float, tau: float) -> float:
    r"""The expected squared error of a kept weight that is taken to the middle of its cell, `step` wide.

    With e(beta) the pruning error, q = exp(-step / tau), and the cells beginning at the threshold:

        (e(step) - step (tau - (step + tau) q) + step^2 (1 - q) / 4) / (1 - q),

    the same in every cell, since what is left of an exponential beyond any point is that exponential again.
    For step << tau it is step^2 / 12, which is returned below tau / 100, where it is right to 4e-6. Cells of
    levels that are multiples of a step begin elsewhere, unless beta is half of an odd number of steps.

    >>> round(al.laplace.quantization_error(step=1.0, tau=1.0), 4), round(1 / 12, 4)
    (0.086, 0.0833)
    """
    if step < tau / 100:
        return step**2 / 12
    q = math.exp(-step / tau)
    first = tau - (step + tau) * q
    return (pruning_error(step, tau) - step * first + step**2 * (1 - q) / 4) / (1 - q)


def label_bits(beta: float, step: float, count: int, tau: float) -> float:
    r"""The entropy, in bits, of a kept weight's sign and level: 1 - sum_l p_l log2 p_l.

    Weights with |w| >= beta go to the nearest of `step`, ..., `count` * `step`, so that with P(x) =
    exp(-(x - beta) / tau) level l has p_l = P(max(beta, (l - 1/2) step)) - P((l + 1/2) step), the first level
    all that lies below its upper edge, and the last all above its lower.

    >>> round(al.laplace.label_bits(beta=0.5, step=1.0, count=1, tau=1.0), 2)  # the sign alone
    1.0
    """
    edges = [beta, *(max(beta, (level + 0.5) * step) for level in range(1, count)), math.inf]
    beyond = [math.exp(-(edge - beta) / tau) for edge in edges]
    shares = [low - high for low, high in pairwise(beyond)]
    return 1 - sum(share * math.log2(share) for share in shares if share > 0)


def position_bits(beta: float, tau: float) -> float:
    """The entropy of whether a weight is kept, in bits a weight: H2(exp(-beta / tau)).

    >>> round(al.laplace.position_bits(beta=np.log(2), tau=1.0), 2)  # half of the weights stay
    1.0
    """
    return _entropy(math.exp(-beta / tau))


def thresholds(fits: Mapping[str, Fit], sparsity: float, error: Error = "remaining") -> dict[str, float]:
    r"""The thresholds beta_i of all layers that prune a share `sparsity` of all weights with the least error.

    Minimizes sum_i a_i e_i(beta_i) subject to sum_i n_i (1 - exp(-beta_i / tau_i)) = sparsity n. Setting the
    derivatives of the Lagrangian to zero, exp(-beta_i / tau_i) / tau_i cancels, and a_i beta_i^2 = lambda n_i
    is left; lambda by bisection. Weightings: a_i = n_i, the squared error of all weights, "weight", has one
    threshold for all layers; a_i = 1, the mean error of each layer, "layer"; a_i = 1 / (2 tau_i^2), that over
    the layer's mean square, "relative". "remaining" minimizes the sum of -log (1 - e_i / (2 tau_i^2))
    instead, so that no layer's remaining share goes to zero: a_i is 1 / (2 tau_i^2 - e_i). Raises ValueError
    for a sparsity outside 0 to 1, both excluded, an unknown error, and no layer.

    >>> fits = {"one": al.laplace.Fit(1000, 1.0, 9.0), "other": al.laplace.Fit(1000, 0.1, 0.9)}
    >>> betas = al.laplace.thresholds(fits, sparsity=0.9)
    >>> {name: round(beta, 2) for name, beta in betas.items()}
    {'one': 2.3, 'other': 0.23}
    """
    _check(fits, error)
    if not 0 < sparsity < 1:
        raise ValueError(f"sparsity is a share above 0 and below 1, but is {sparsity!r}")
    counts, taus = (np.array([getattr(each, name) for each in fits.values()]) for name in ("count", "tau"))
    if error == "remaining":  # u^2 exp(u) / (u^2 + 2 u + 2) = lambda n_i with u = beta / tau

        def betas(root: float) -> np.ndarray:
            return taus * _solved(2 * math.log(root) + np.log(counts))
    else:
        slopes = np.array([1 / math.sqrt(_weighting(each, 0.0, error)) for each in fits.values()])

        def betas(root: float) -> np.ndarray:
            return root * slopes

    def pruned(root: float) -> float:
        return float((counts * -np.expm1(-betas(root) / taus)).sum() / counts.sum())

    low, high = 0.0, 1.0
    while pruned(high) < sparsity:
        low, high = high, 2 * high
    while (middle := (low + high) / 2) not in (low, high):  # until doubles are next to each other
        low, high = (middle, high) if pruned(middle) < sparsity else (low, middle)
    return dict(zip(fits, betas(high).tolist(), strict=True))


def steps(
    fits: Mapping[str, Fit], betas: Mapping[str, float], bits: float, error: Error = "remaining"
) -> dict[str, float]:
    r"""The steps Delta_i of all layers with the least error, at `bits` a kept weight on average.

    Minimizes sum_i a_i (k_i / n_i) Delta_i^2 / 12, k_i = n_i exp(-beta_i / tau_i), subject to sum_i k_i
    log2 (2 R_i / Delta_i) = bits sum_i k_i, where R_i is the largest weight: 2 R_i / Delta_i levels reach it,
    on both sides of zero. The Lagrangian leaves a_i Delta_i^2 = lambda n_i, **as for the thresholds**: all
    layers have the same ratio Delta_i / beta_i ("remaining" takes a_i as the thresholds left it). A label has
    1 bit, the sign, to 8: steps lie between R_i / 128 and R_i. lambda by bisection. Raises ValueError as
    `thresholds`, and for bits outside 1 to 8.

    >>> fits = {"one": al.laplace.Fit(1000, 1.0, 8.0), "other": al.laplace.Fit(1000, 0.1, 0.8)}
    >>> steps = al.laplace.steps(fits, {"one": 2.0, "other": 0.2}, bits=3)
    >>> {name: round(step, 2) for name, step in steps.items()}
    {'one': 2.0, 'other': 0.2}
    """
    _check(fits, error)
    if not 1 <= bits <= MOST_BITS:
        raise ValueError(f"bits are from 1, the sign, to {MOST_BITS}, but are {bits!r}")
    slope = {name: 1 / math.sqrt(_weighting(each, betas[name], error)) for name, each in fits.items()}
    kept = {name: each.count * math.exp(-betas[name] / each.tau) for name, each in fits.items()}

    def at(log_root: float) -> dict[str, float]:
        root = math.exp(log_root)
        bounds = {name: (each.largest / 2 ** (MOST_BITS - 1), each.largest) for name, each in fits.items()}
        return {name: min(max(root * slope[name], low), high) for name, (low, high) in bounds.items()}

    def spent(found: Mapping[str, float]) -> float:
        return sum(kept[name] * math.log2(2 * fits[name].largest / step) for name, step in found.items())

    limits = [math.log(each.largest / slope[name]) for name, each in fits.items()]
    low, high = min(limits) - MOST_BITS, max(limits) + 1  # all at their most bits, and all at one
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if spent(at(middle)) > bits * sum(kept.values()) else (low, middle)
    return at(high)


def widths(fits: Mapping[str, Fit], found: Mapping[str, float]) -> dict[str, int]:
    """The whole bits a label needs where steps are `found`: 1 + ceil(log2(R_i / Delta_i)), 1 to 8.

    >>> al.laplace.widths({"one": al.laplace.Fit(1000, 1.0, 8.0)}, {"one": 2.0})
    {'one': 3}
    """
    exact = {name: math.log2(fits[name].largest / step) for name, step in found.items()}
    return {name: min(MOST_BITS, 1 + max(0, math.ceil(each - 1e-9))) for name, each in exact.items()}


def solve(
    fits: Mapping[str, Fit], sparsity: float, bits: float, error: Error = "remaining"
) -> tuple[dict[str, float], dict[str, float], dict[str, int]]:
    """`thresholds` at a sparsity, `steps` at bits a kept weight, and the `widths` that these need.

    >>> betas, steps, widths = al.laplace.solve({"one": al.laplace.Fit(1000, 1.0, 8.0)}, sparsity=0.9, bits=3)
    >>> round(betas["one"], 2), round(steps["one"], 2), widths["one"]
    (2.3, 2.0, 3)
    """
    betas = thresholds(fits, sparsity, error)
    found = steps(fits, betas, bits, error)
    return betas, found, widths(fits, found)


def _check(fits: Mapping[str, Fit], error: str) -> None:
    if not fits:
        raise ValueError("there is no layer to find a threshold for")
    if error not in ERRORS:
        raise ValueError(f"error must be one of {', '.join(ERRORS)}, but is {error!r}")


def _weighting(each: Fit, beta: float, error: Error) -> float:
    """a_i / n_i of a layer."""
    mean = 2 * each.tau**2
    match error:
        case "weight":
            return 1.0
        case "layer":
            return 1 / each.count
        case "relative":
            return 1 / (mean * each.count)
    left = (beta**2 + 2 * beta * each.tau + mean) * math.exp(-beta / each.tau)  # mean - e(beta)
    return 1 / (left * each.count)


def _solved(logs: np.ndarray) -> np.ndarray:
    """The u > 0 at which log(u^2 exp(u) / (u^2 + 2 u + 2)), which rises with u, has these values.

    Newton's method for log u, from the right, where the function is convex and no step goes too far.
    """
    x = np.where(logs < 0, (logs + math.log(4)) / 2, np.log(np.maximum(logs, 0) + 3))
    for _ in range(NEWTON):
        u = np.exp(x)
        above = 2 * x + u - np.log(u * u + 2 * u + 2) - logs
        x = x - above / (2 + u - (2 * u * u + 2 * u) / (u * u + 2 * u + 2))
    return np.exp(x)


def _entropy(share: float) -> float:
    """H2, in bits."""
    if not 0 < share < 1:
        return 0.0
    return -share * math.log2(share) - (1 - share) * math.log2(1 - share)
