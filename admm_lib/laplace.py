r"""Pruning and quantization errors of weights that follow a Laplace distribution, in closed form.

p(w) = exp(-|w| / tau) / (2 tau), with tau = mean |w|. Source of the idea to solve for all layers at once from
such formulas: OPQ, 2205.11141; the formulas below are derived here, since that paper's own were not read.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Error = Literal["weight", "layer", "relative"]
ERRORS: tuple[Error, ...] = ("weight", "layer", "relative")


@dataclass(frozen=True)
class Fit:
    """A layer's weights as a Laplace distribution: how many, their scale tau, and how far from it they are.

    `distance` is that of Kolmogorov and Smirnov, max |F(|w|) - (1 - exp(-|w| / tau))|: 0 is a perfect fit.
    """

    count: int
    tau: float
    distance: float


def fit(weight: Tensor) -> Fit:
    """The distribution of largest likelihood: tau = mean |w|, zeros left out, since they were pruned.

    One pass and a sort. Raises ValueError for weights that are all zero, or not finite.
    """
    magnitudes = weight.detach().abs().double().reshape(-1)
    if not bool(magnitudes.isfinite().all() and magnitudes.any()):
        raise ValueError("a fit needs nonzero weights, and finite ones")
    magnitudes = magnitudes[magnitudes > 0].sort().values
    tau = magnitudes.mean().item()
    below = -torch.expm1(-magnitudes / tau)
    steps = torch.arange(len(magnitudes) + 1, dtype=torch.float64, device=below.device) / len(magnitudes)
    apart = torch.maximum((steps[1:] - below).abs(), (steps[:-1] - below).abs())
    return Fit(len(magnitudes), tau, apart.max().item())


def pruned_share(beta: float, tau: float) -> float:
    """The share of weights with |w| < beta: 1 - exp(-beta / tau)."""
    return -math.expm1(-beta / tau)


def pruning_error(beta: float, tau: float) -> float:
    """The expected square of a weight that is cut where |w| < beta.

    e(beta) = 2 tau^2 - (beta^2 + 2 beta tau + 2 tau^2) exp(-beta / tau). Below beta = tau / 100 the terms
    cancel, and the beginning of their series, beta^3 / 3 tau - beta^4 / 4 tau^2 + beta^5 / 10 tau^3, takes
    their place, which is right to 2e-7.
    """
    if beta < tau / 100:
        return beta**3 / (3 * tau) - beta**4 / (4 * tau**2) + beta**5 / (10 * tau**3)
    return 2 * tau**2 - (beta**2 + 2 * beta * tau + 2 * tau**2) * math.exp(-beta / tau)


def thresholds(fits: Mapping[str, Fit], sparsity: float, error: Error = "relative") -> dict[str, float]:
    r"""The thresholds beta_i of all layers that prune a share `sparsity` of all weights with the least error.

    Minimizes sum_i a_i e_i(beta_i) subject to sum_i N_i (1 - exp(-beta_i / tau_i)) = sparsity N. Setting the
    derivatives of the Lagrangian to zero, exp(-beta_i / tau_i) / tau_i cancels, and a_i beta_i^2 = lambda N_i
    is left; lambda by bisection. Weightings: a_i = N_i, the squared error of all weights, "weight", has one
    threshold for all layers; a_i = 1, the mean error of each layer, "layer"; a_i = 1 / (2 tau_i^2), that over
    the layer's mean square, "relative". Raises ValueError for a sparsity outside 0 to 1, both excluded, an
    unknown error, and no layer.
    """
    if not fits:
        raise ValueError("there is no layer to find a threshold for")
    if not 0 < sparsity < 1:
        raise ValueError(f"sparsity is a share above 0 and below 1, but is {sparsity!r}")
    if error not in ERRORS:
        raise ValueError(f"error must be one of {', '.join(ERRORS)}, but is {error!r}")
    total = sum(each.count for each in fits.values())
    slope = {}  # beta_i = slope_i sqrt(lambda)
    for name, each in fits.items():
        weighting = {"weight": each.count, "layer": 1.0, "relative": 1 / (2 * each.tau**2)}[error]
        slope[name] = math.sqrt(each.count / weighting)

    def pruned(root: float) -> float:
        parts = (each.count * pruned_share(root * slope[name], each.tau) for name, each in fits.items())
        return sum(parts) / total

    low, high = 0.0, 1.0
    while pruned(high) < sparsity:
        low, high = high, 2 * high
    while (middle := (low + high) / 2) not in (low, high):  # until doubles are next to each other
        low, high = (middle, high) if pruned(middle) < sparsity else (low, middle)
    return {name: high * slope[name] for name in fits}
