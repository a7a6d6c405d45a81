"""How much each layer keeps."""

import math

from torch import nn

from .constraints import Sparse

PRUNABLE = (nn.Linear, nn.modules.conv._ConvNd)  # not norms, whose few scales carry whole channels


def suggest(model: nn.Module, ratio: float = 20) -> dict[str, Sparse]:
    r"""A starting point for `model` at `ratio` overall: an editable dict of one `Sparse(keep=...)` per layer.

    keep_i = min(n_i, c s_i sqrt(n_i)) over the weights of linear and convolution layers, with s = 2 for
    the first and the last layer, else 1, and c such that sum_i keep_i = floor(sum_i n_i / ratio). Large
    layers are pruned harder because they are the more redundant ones; a heuristic, to be edited.
    Raises ValueError for a ratio below 1, one so high that a layer is left without a weight, and for a
    model without such a layer.
    """
    sizes = {
        f"{name}.weight" if name else "weight": module.weight.numel()
        for name, module in model.named_modules()
        if isinstance(module, PRUNABLE)
    }
    if not sizes:
        raise ValueError("the model has no linear or convolution layer to prune")
    total = Sparse(ratio=ratio).budget(sum(sizes.values()))
    ends = {next(iter(sizes)), list(sizes)[-1]}
    shares = {name: (2 if name in ends else 1) * math.sqrt(n) for name, n in sizes.items()}
    keep = _fill(total, shares, sizes)
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
