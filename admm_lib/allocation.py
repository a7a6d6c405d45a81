"""How much each layer keeps."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from . import groups, laplace
from .admm import Key
from .constraints import Sparse
from .names import resolve
from .parametrizations import original
from .projections import top_k_mask

PRUNABLE = (nn.Linear, nn.modules.conv._ConvNd)  # not norms, whose few scales carry whole channels


def suggest(model: nn.Module, ratio: float = 20) -> dict[str, Sparse]:
    r"""A starting point for `model` at `ratio` overall: an editable dict of one `Sparse(keep=...)` per layer.

    keep_i = min(n_i, c s_i sqrt(n_i)) over the weights of linear and convolution layers, with s = 2 for
    the first and the last layer, else 1, and c such that sum_i keep_i = floor(sum_i n_i / ratio). Large
    layers are pruned harder because they are the more redundant ones; a heuristic, to be edited.
    Raises ValueError for a ratio below 1, one so high that a layer is left without a weight, and for a
    model without such a layer.
    """
    sizes = {name: weight.numel() for name, weight in prunable(model).items()}
    total = Sparse(ratio=ratio).budget(sum(sizes.values()))
    ends = {next(iter(sizes)), list(sizes)[-1]}
    shares = {name: (2 if name in ends else 1) * math.sqrt(n) for name, n in sizes.items()}
    return _sets(_fill(total, shares, sizes), ratio)


def uniform(model: nn.Module, ratio: float) -> dict[str, Sparse]:
    r"""Every layer at the same ratio: keep_i = n_i / ratio, rounded so that the sum is floor(n / ratio).

    Errors as for `suggest`. The usual baseline of pruning papers.
    """
    sizes = {name: weight.numel() for name, weight in prunable(model).items()}
    total = Sparse(ratio=ratio).budget(sum(sizes.values()))
    return _sets(_fill(total, dict(sizes), sizes), ratio)


def by_magnitude(model: nn.Module, ratio: float) -> dict[str, Sparse]:
    r"""What each layer has among the floor(n / ratio) largest |w| of the whole network.

    One threshold for all layers. Errors as for `suggest`, and for weights that are not finite. Source:
    1510.00149, Section 2, made global.
    """
    return _by_score(model, ratio, torch.abs)


def by_lamp(model: nn.Module, ratio: float) -> dict[str, Sparse]:
    r"""What each layer has among the floor(n / ratio) largest LAMP scores of the whole network.

    score(w_u) = w_u^2 / sum_{v >= u} w_v^2 within its layer, in ascending order of |w| (ties: the lower
    index first): how much of what would be left of the layer's energy goes with u. Errors as for
    `by_magnitude`. Source: the LAMP score of Lee et al. 2021 (2010.07611).
    """
    return _by_score(model, ratio, lamp_scores)


def by_laplace(model: nn.Module, ratio: float, error: laplace.Error = "relative") -> dict[str, Sparse]:
    r"""What is left of each layer where closed forms of Laplace-distributed weights put its threshold.

    keep_i = N_i exp(-beta_i / tau_i), with all beta_i at once from `laplace.thresholds`, in that weighting of
    the layers' errors, rounded so that the sum is floor(n / ratio), or all nonzero weights where these are
    fewer; they alone are counted among N_i. Errors as for `by_magnitude`, and for a layer of zeros. Source:
    the idea of OPQ, 2205.11141, whose own formulas were not read.
    """
    weights = prunable(model)
    fits = {name: laplace.fit(weight) for name, weight in weights.items()}
    sizes = {name: each.count for name, each in fits.items()}
    total, there = Sparse(ratio=ratio).budget(sum(w.numel() for w in weights.values())), sum(sizes.values())
    if total == 0 or total >= there:
        return _sets(sizes if total else dict.fromkeys(sizes, 0), ratio)
    betas = laplace.thresholds(fits, 1 - total / there, error)
    shares = {name: each.count * math.exp(-betas[name] / each.tau) for name, each in fits.items()}
    return _sets(_fill(total, shares, sizes), ratio)


def together(model: nn.Module, ratio: float) -> dict[tuple[str, ...], Sparse]:
    """One budget of floor(n / ratio) over all layers: ADMM's own projection then decides who gets what.

    Raises ValueError for a ratio below 1, one so high that no weight is left, and for a model without a
    linear or convolution layer.
    """
    weights = prunable(model)
    total = Sparse(ratio=ratio).budget(sum(weight.numel() for weight in weights.values()))
    if total == 0:
        raise ValueError(f"ratio={ratio:g} would leave no weight at all: lower it")
    return {tuple(weights): Sparse(keep=total)}


RULES: dict[str, Callable[[nn.Module, float], dict[Key, Sparse]]] = {
    "suggest": suggest, "uniform": uniform, "magnitude": by_magnitude, "lamp": by_lamp, "laplace": by_laplace,
    "together": together,
}  # fmt: skip
LOOKING = ("magnitude", "lamp", "laplace")  # rules whose budgets are not known before the weights are there


def in_steps(model: nn.Module, sets: Mapping[Key, Sparse], steps: int) -> list[dict[Key, Sparse]]:
    r"""Budgets on the way to `sets`: step s of S keeps n_i (k_i / n_i)^(s / S) of n_i weights (or groups).

    Every step divides what is left by the same factor; no budget falls below its last, and the
    last ones are exact. Raises ValueError for steps < 1, an unknown layer and a set that does not fit it.
    Source: the moderate partial prunings of 1810.07378, Section 3.
    """
    if steps < 1:
        raise ValueError(f"steps must be 1 or more, but is {steps}")
    last, counts = {}, {}
    for key, each in sets.items():
        shapes = [getattr(*resolve(model, name)).shape for name in ([key] if isinstance(key, str) else key)]
        shape = groups.joined(shapes)
        each.check(shape, str(key))
        counts[key] = each.count(shape)
        last[key] = each.budget(counts[key])
    return [
        {
            key: replace(
                sets[key], ratio=None, keep=max(last[key], round(n * (last[key] / n) ** (step / steps)))
            )
            for key, n in counts.items()
        }
        for step in range(1, steps + 1)
    ]


class Left:
    """The most that budgets have left so far: nonzero groups of each layer, by view, and weights in all."""

    def __init__(self, model: nn.Module) -> None:
        self._shapes = {name: weight.shape for name, weight in prunable(model).items()}
        self._views: dict[str, dict[tuple, int]] = {name: {} for name in self._shapes}
        self._each = {name: shape.numel() for name, shape in self._shapes.items()}  # nonzero weights
        self._weights = sum(self._each.values())

    def most(self, key: Key, each: Sparse) -> int:
        """How many groups of a layer, as `each` sees it, or weights of several layers, may still be there."""
        if isinstance(key, str):
            left = self._views[key].get((each.by, each.group), each.count(self._shapes[key]))
            return min(left, self._each[key], self._weights)
        return min(sum(self._each[name] for name in key), self._weights)

    def lower(self, key: Key, each: Sparse) -> None:
        """Take in a budget, no larger than `most`: that of a layer, or one over all layers."""
        if isinstance(key, str):
            shape = self._shapes[key]
            self._views[key][each.by, each.group] = each.keep
            weights = each.keep * groups.most_weights(shape, each.by, each.group)
            self._each[key] = min(self._each[key], weights)
        else:
            self._weights = each.keep
        self._weights = min(self._weights, sum(self._each.values()))


def prunable(model: nn.Module) -> dict[str, Tensor]:
    """The weights of linear and convolution layers by name, tied ones once; ValueError for none."""
    found, seen = {}, set()
    for name, module in model.named_modules():
        if isinstance(module, PRUNABLE) and id(parameter := original(module, "weight")) not in seen:
            seen.add(id(parameter))
            found[f"{name}.weight" if name else "weight"] = module.weight.detach()
    if not found:
        raise ValueError("the model has no linear or convolution layer to prune")
    return found


def lamp_scores(weight: Tensor) -> Tensor:
    """The LAMP score of each weight, shaped like `weight`, in double precision; 0 for a layer of zeros."""
    energy = weight.detach().double().reshape(-1).square()
    ordered, order = energy.sort(stable=True)
    left = ordered.flip(0).cumsum(0).flip(0)  # of the weight itself and all that are larger
    scores = torch.empty_like(energy)
    scores[order] = ordered / left.clamp_min(torch.finfo(torch.float64).tiny)
    return scores.reshape(weight.shape)


def _by_score(model: nn.Module, ratio: float, score: Callable[[Tensor], Tensor]) -> dict[str, Sparse]:
    weights = prunable(model)
    if bad := [name for name, weight in weights.items() if not bool(weight.isfinite().all())]:
        raise ValueError(
            f"{bad[0]} holds NaN or infinite weights, which have no rank: go back to a good checkpoint"
        )
    scores = {name: score(weight) for name, weight in weights.items()}
    joined = torch.cat([each.reshape(-1).double() for each in scores.values()])
    kept = top_k_mask(joined, Sparse(ratio=ratio).budget(joined.numel()))
    counts = [int(part.sum()) for part in kept.split([each.numel() for each in scores.values()])]
    return _sets(dict(zip(scores, counts, strict=True)), ratio)


def _sets(keep: dict[str, int], ratio: float) -> dict[str, Sparse]:
    if empty := [name for name in keep if keep[name] == 0]:
        raise ValueError(f"ratio={ratio:g} would leave {empty[0]} without a weight: lower it")
    return {name: Sparse(keep=count) for name, count in keep.items()}


def _fill(total: int, shares: dict[str, float], sizes: dict[str, int]) -> dict[str, int]:
    """`total` split in proportion to `shares`, none above its size, rounded so that the sum is exact."""
    full: set[str] = set()
    while True:  # layers that are full pass their surplus on to the others
        scale = (total - sum(sizes[n] for n in full)) / (
            sum(s for n, s in shares.items() if n not in full) or 1
        )
        over = {n for n in shares if n not in full and scale * shares[n] >= sizes[n]}
        if not over:
            break
        full |= over
    exact = {n: float(sizes[n]) if n in full else scale * shares[n] for n in shares}
    keep = {n: math.floor(value + 1e-9) for n, value in exact.items()}
    by_remainder = sorted(exact, key=lambda n: keep[n] - exact[n])
    for name in by_remainder[: total - sum(keep.values())]:
        keep[name] += 1
    return keep
