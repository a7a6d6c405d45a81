"""How much each layer keeps at a ratio: one function per rule, all from the weights alone."""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from .. import laplace
from ..admm import Key
from ..constraints import Sparse
from ..holding import original
from ..names import resolve
from ..projections import top_k_mask


class TooSparse(ValueError):
    """A ratio so high that a layer, or the network, would be left without a weight."""


PRUNABLE = (nn.Linear, nn.modules.conv._ConvNd)  # not norms, whose few scales carry whole channels


def suggest(model: nn.Module, ratio: float = 20) -> dict[str, Sparse]:
    r"""A starting point for `model` at `ratio` overall: an editable dict of one `Sparse(keep=...)` per layer.

    keep_i = min(n_i, c s_i sqrt(n_i)) over the weights of linear and convolution layers, with s = 2 for
    the first and the last layer, else 1, and c such that sum_i keep_i = floor(sum_i n_i / ratio). Large
    layers are pruned harder because they are the more redundant ones; a heuristic, to be edited.
    Raises ValueError for a ratio below 1, one so high that a layer is left without a weight, and for a
    model without such a layer.

    >>> model = nn.Sequential(nn.Linear(100, 50), nn.ReLU(), nn.Linear(50, 50), nn.ReLU(), nn.Linear(50, 10))
    >>> al.suggest(model, ratio=10)
    {'0.weight': Sparse(keep=479), '2.weight': Sparse(keep=169), '4.weight': Sparse(keep=152)}
    """
    sizes = {name: weight.numel() for name, weight in prunable(model).items()}
    total = Sparse(ratio=ratio).budget(sum(sizes.values()))
    ends = {next(iter(sizes)), list(sizes)[-1]}
    shares = {name: (2 if name in ends else 1) * math.sqrt(n) for name, n in sizes.items()}
    return _sets(_fill(total, shares, sizes), ratio)


def uniform(model: nn.Module, ratio: float) -> dict[str, Sparse]:
    r"""Every layer at the same ratio: keep_i = n_i / ratio, rounded so that the sum is floor(n / ratio).

    Errors as for `suggest`. The usual baseline of pruning papers.

    >>> model = nn.Sequential(nn.Linear(100, 50), nn.ReLU(), nn.Linear(50, 10))
    >>> al.allocation.uniform(model, ratio=10)
    {'0.weight': Sparse(keep=500), '2.weight': Sparse(keep=50)}
    """
    sizes = {name: weight.numel() for name, weight in prunable(model).items()}
    total = Sparse(ratio=ratio).budget(sum(sizes.values()))
    return _sets(_fill(total, dict(sizes), sizes), ratio)


def by_magnitude(model: nn.Module, ratio: float) -> dict[str, Sparse]:
    r"""What each layer has among the floor(n / ratio) largest |w| of the whole network.

    One threshold for all layers. Errors as for `suggest`, and for weights that are not finite. Source:
    1510.00149, Section 2, made global.

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    >>> model[0].weight.data, model[1].weight.data = torch.tensor([[4.0, 3], [2, 1]]), torch.full((2, 2), 2.5)
    >>> al.allocation.by_magnitude(model, ratio=2)
    {'0.weight': Sparse(keep=2), '1.weight': Sparse(keep=2)}
    """
    return _by_score(model, ratio, torch.abs)


def by_lamp(model: nn.Module, ratio: float) -> dict[str, Sparse]:
    r"""What each layer has among the floor(n / ratio) largest LAMP scores of the whole network.

    score(w_u) = w_u^2 / sum_{v >= u} w_v^2 within its layer, in ascending order of |w| (ties: the lower
    index first): how much of what would be left of the layer's energy goes with u. Errors as for
    `by_magnitude`. Source: the LAMP score of Lee et al. 2021 (2010.07611).

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    >>> model[0].weight.data = torch.tensor([[4.0, 3], [2, 1]])
    >>> model[1].weight.data = model[0].weight.data / 1000  # a layer's scale has no part in it
    >>> al.allocation.by_lamp(model, ratio=2)
    {'0.weight': Sparse(keep=2), '1.weight': Sparse(keep=2)}
    """
    return _by_score(model, ratio, lamp_scores)


def by_laplace(model: nn.Module, ratio: float, error: laplace.Error = "remaining") -> dict[str, Sparse]:
    r"""What is left of each layer where closed forms of Laplace-distributed weights put its threshold.

    keep_i = N_i exp(-beta_i / tau_i), with all beta_i at once from `laplace.thresholds`, in that weighting of
    the layers' errors, rounded so that the sum is floor(n / ratio), or all nonzero weights where these are
    fewer; they alone are counted among N_i. Errors as for `by_magnitude`, and for a layer of zeros. Source:
    the idea of OPQ, 2205.11141, whose own formulas were not read.

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    >>> model[0].weight.data = torch.tensor([[4.0, 3], [2, 1]])
    >>> model[1].weight.data = torch.tensor([[1.0, 1], [0, 0]])  # zeros do not count
    >>> al.allocation.by_laplace(model, ratio=2, error="relative")
    {'0.weight': Sparse(keep=3), '1.weight': Sparse(keep=1)}
    """
    weights = prunable(model)
    fits = laplace.fits(weights)
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

    >>> al.allocation.together(nn.Sequential(nn.Linear(100, 50), nn.ReLU(), nn.Linear(50, 10)), ratio=10)
    {('0.weight', '2.weight'): Sparse(keep=550)}
    """
    weights = prunable(model)
    total = Sparse(ratio=ratio).budget(sum(weight.numel() for weight in weights.values()))
    if total == 0:
        raise TooSparse(f"ratio={ratio:g} would leave no weight at all: lower it")
    return {tuple(weights): Sparse(keep=total)}


RULES: dict[str, Callable[[nn.Module, float], dict[Key, Sparse]]] = {
    "suggest": suggest, "uniform": uniform, "magnitude": by_magnitude, "lamp": by_lamp, "together": together,
    **{f"laplace-{error}": partial(by_laplace, error=error) for error in laplace.ERRORS},
}  # fmt: skip
# Rules whose budgets are not known before the weights are there:
LOOKING = ("magnitude", "lamp", *(f"laplace-{error}" for error in laplace.ERRORS))


def prunable(model: nn.Module) -> dict[str, Tensor]:
    """The weights of linear and convolution layers by name, tied ones once; ValueError for none.

    >>> [*al.allocation.prunable(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU()))]
    ['0.weight']
    """
    found, seen = {}, set()
    for name, module in model.named_modules():
        if isinstance(module, PRUNABLE) and id(parameter := original(module, "weight")) not in seen:
            seen.add(id(parameter))
            found[f"{name}.weight" if name else "weight"] = module.weight.detach()
    if not found:
        raise ValueError("the model has no linear or convolution layer to prune")
    return found


def plain(model: nn.Module, name: str) -> Tensor:
    """A tensor that can be changed in place; ValueError for an unknown one, one held by a constraint, and one
    that holds NaN or infinity.
    """
    owner = resolve(model, name)
    if is_parametrized(*owner):
        raise ValueError(f"{name} is held by a constraint: make the network plain first, with bake(model)")
    tensor = getattr(*owner).detach()
    if not bool(tensor.isfinite().all()):
        raise ValueError(f"{name} holds NaN or infinite weights, which no budget or level is for")
    return tensor


def lamp_scores(weight: Tensor) -> Tensor:
    """The LAMP score of each weight, shaped like `weight`, in double precision; 0 for a layer of zeros.

    >>> al.allocation.lamp_scores(torch.tensor([-1.0, 1, 2])).tolist()  # 1 / (1 + 1 + 4), 1 / (1 + 4), 4 / 4
    [0.16666666666666666, 0.2, 1.0]
    """
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
        raise TooSparse(f"ratio={ratio:g} would leave {empty[0]} without a weight: lower it")
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
