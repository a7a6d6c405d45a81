"""Rivals of ADMM in quantization: snapping a share at a time, and the straight-through estimator."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from .constraints import Constraint
from .names import resolve
from .parametrizations import Partly, StraightThrough, hold
from .projections import nearest_level


@torch.no_grad()
def freeze_nearest(model: nn.Module, sets: Mapping[str, Constraint], share: float) -> None:
    """Snap the `share` of each level's weights that lie nearest to it, and hold them there; in place.

    The levels are those of the set's projection when a layer is first seen, and stay. Called again with a
    larger share it freezes more, of those still free the nearest to their level; a share of 1 ends with the
    layer quantized. Zeros stay zero. Raises ValueError for a share outside 0 to 1 and an unknown layer.
    Source: the iterative quantization of 1811.01907, Section 3.4.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share is a fraction, above 0 and at most 1, but is {share}")
    for name, each in sets.items():
        module, tensor_name = resolve(model, name)
        weight = getattr(module, tensor_name).detach()
        held = module.parametrizations[tensor_name][0] if is_parametrized(module, tensor_name) else None
        first = not isinstance(held, _Snapped)
        nearest = each.project(weight) if first else nearest_level(weight, held.levels)
        levels = nearest[weight != 0].unique() if first else held.levels
        nearest = torch.where(weight == 0, weight, nearest)
        frozen = weight == 0 if first else held.frozen
        frozen = frozen | _nearest_share((weight - nearest).abs(), nearest, frozen, share)
        hold(module, tensor_name, weight, _Snapped(frozen, torch.where(frozen, nearest, 0), levels))


class _Snapped(Partly):
    def __init__(self, frozen: Tensor, values: Tensor, levels: Tensor) -> None:
        super().__init__(frozen, values)
        self.register_buffer("levels", levels)


def _nearest_share(distance: Tensor, nearest: Tensor, frozen: Tensor, share: float) -> Tensor:
    """Of each level's weights the nearest ones that are free, so many that with the frozen ones they are the
    share of it, rounded up.
    """
    chosen = torch.zeros_like(frozen)
    for level in nearest.unique():
        mine = nearest == level
        free = (mine & ~frozen).reshape(-1).nonzero().squeeze(1)
        wanted = -int(-share * int(mine.sum()) // 1) - int((mine & frozen).sum())
        if wanted > 0:
            order = distance.reshape(-1)[free].argsort(stable=True)
            chosen.view(-1)[free[order[:wanted]]] = True
    return chosen


@torch.no_grad()
def straight_through(model: nn.Module, sets: Mapping[str, Constraint], every: int = 100) -> None:
    """Let the layers train through their projection; see `parametrizations.StraightThrough`. In place.

    `bake(model)` ends it with the projected weights. Raises ValueError for an unknown layer.
    """
    for name, each in sets.items():
        owner = resolve(model, name)
        weight = getattr(*owner).detach().clone()
        hold(*owner, weight, StraightThrough(weight, each.project, every))
