"""Rivals of ADMM: hard thresholding, gradual magnitude, a plain penalty; in quantization, snapping a share at
a time, and straight-through.
"""

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from .admm import ADMM, Residuals
from .constraints import Constraint, LowRank, Sparse
from .holding import hold_tied
from .intersection import Both
from .layers import sharing
from .pairs import Key
from .parametrizations import Mask, Partly, StraightThrough
from .projections import nearest_level
from .quantization import Levels

# Of each level's weights, frozen one after the other (1811.01907, Section 3.4), each with as many epochs;
# in the last part only biases and layers that are not quantized train on, as after ADMM with fixed levels.
SHARES = (0.3, 0.6, 0.9, 1.0)


@torch.no_grad()
def freeze_nearest(model: nn.Module, sets: Mapping[str, Constraint], share: float) -> None:
    """Snap the `share` of each level's weights that lie nearest to it, and hold them there; in place.

    The levels are those of the set's projection when a layer is first seen, and stay. Called again with a
    larger share it freezes more, of those still free the nearest to their level; a share of 1 ends with the
    layer quantized. Zeros stay zero. Raises ValueError, before any change, for a share outside 0 to 1 (0
    excluded), an unknown layer, a set that prunes or is of low rank, and a set per channel. Source: the
    iterative quantization of 1811.01907, Section 3.4.

    >>> model = nn.Linear(4, 1)
    >>> model.weight.data = torch.tensor([[1.0, 1.25, -1.5, 0]])
    >>> al.rivals.freeze_nearest(model, {"weight": al.OneOf((-1.0, 1.0))}, share=0.5)
    >>> model.weight.tolist()  # 1.25 trains on
    [[1.0, 1.25, -1.0, 0.0]]
    """
    if not 0 < share <= 1:
        raise ValueError(f"share is a fraction, above 0 and at most 1, but is {share}")
    for owners, each in _owned(model, sets):
        module, tensor_name = owners[0]
        weight = getattr(module, tensor_name).detach()
        held = module.parametrizations[tensor_name][0] if is_parametrized(module, tensor_name) else None
        if not isinstance(held, _Snapped):
            nearest = each.project(weight)
            held = _Snapped(weight == 0, torch.zeros_like(weight), nearest[weight != 0].unique())
        if len(held.levels) == 0:
            continue  # nothing is left of the layer
        nearest = torch.where(weight == 0, weight, nearest_level(weight, held.levels))
        frozen = held.frozen | _nearest_share((weight - nearest).abs(), nearest, held.frozen, share)
        hold_tied(owners, weight, _Snapped(frozen, torch.where(frozen, nearest, 0), held.levels))


class HardThresholding(ADMM):
    r"""Iterative hard thresholding, trained as ADMM is: W <- projection of W at each update, and no penalty.

    What `fit(admm=...)` and `finalize` ask for is the same; rho has no part in it. With Sparse this is
    iterative hard thresholding (Blumensath and Davies 2009), with LowRank trained rank pruning, which trains
    and truncates in turn (Xu et al. 2019, 1812.02402). Errors as for ADMM.

    >>> model = nn.Linear(4, 1)
    >>> model.weight.data = torch.tensor([[3.0, -1, 0.5, 2]])
    >>> residuals = al.rivals.HardThresholding(model, {"weight": al.Sparse(keep=2)}).update()
    >>> model.weight.tolist(), round(residuals["weight"].primal, 3)
    ([[3.0, 0.0, 0.0, 2.0]], 1.118)
    """

    def add_penalty_gradient(self) -> None:
        """Nothing: the weights are free between updates."""
        self._still_open()

    def penalty(self) -> Tensor:
        """Zero."""
        return super().penalty() * 0

    @torch.no_grad()
    def update(self) -> dict[Key, Residuals]:
        """W <- projection of W; how far that moved the weights is the primal residual, by key."""
        self._still_open()
        before, projected = self._layers.values(), self._projected()
        residuals: dict[Key, Residuals] = {}
        for pair in self._pairs:
            free, near = (self._layers.join(pair.layers, each) for each in (before, projected))
            found = Residuals((free - near).norm().item(), 0.0, free.norm().item(), pair.rho)
            residuals[pair.key] = max(found, residuals.get(pair.key, found))
        self._layers.assign(projected)
        self.iteration += 1
        self.history.append(residuals)
        return residuals


class GradualMagnitude(HardThresholding):
    r"""Gradual magnitude pruning, trained as ADMM is: with each update fewer weights stay, and none returns.

    After update t of T, n - (n - keep) (1 - (1 - t/T)^3) of n groups are left, those of the largest norm,
    held by a mask. Raises ValueError for a set that is not Sparse, for updates < 1, and as ADMM does. Source:
    Zhu and Gupta 2017 (1710.01878), Eq. (1).

    >>> model = nn.Linear(16, 1)
    >>> gradual = al.rivals.GradualMagnitude(model, {"weight": al.Sparse(keep=1)}, updates=4)
    >>> [len(gradual.update()) * int(model.weight.count_nonzero()) for _ in range(4)]
    [7, 3, 1, 1]
    """

    def __init__(self, model: nn.Module, constraints: Mapping[Key, Sparse], updates: int) -> None:
        if updates < 1:
            raise ValueError(f"gradual pruning takes 1 update or more, not {updates}")
        for key, each in constraints.items():
            if not isinstance(each, Sparse):
                raise ValueError(f"{key}: {each!r} does not prune; gradual pruning is for Sparse")
        super().__init__(model, constraints)
        self._updates = updates
        for i in range(len(self._layers)):
            if self._layers.mask(i) is None:
                value = self._layers.value(i).clone()
                self._layers.hold(i, value, Mask(torch.ones_like(value, dtype=torch.bool)))

    @torch.no_grad()
    def update(self) -> dict[Key, Residuals]:
        """The masks of the next update; how far that moved the weights is the primal residual, by key."""
        self._still_open()
        self._layers.check_finite()
        gone = 1 - (1 - min((self.iteration + 1) / self._updates, 1)) ** 3
        residuals: dict[Key, Residuals] = {}
        for pair in self._pairs:
            W = self._layers.join(pair.layers)
            count = pair.constraint.count(W.shape)
            stay = count - round((count - pair.constraint.budget(count)) * gone)
            chosen = replace(pair.constraint, keep=stay, ratio=None).chosen(W).expand_as(W)
            residuals[pair.key] = Residuals(W[~chosen].norm().item(), 0.0, W.norm().item(), pair.rho)
            for i, piece in zip(pair.layers, self._layers.split(pair.layers, chosen), strict=True):
                self._layers.mask(i).logical_and_(piece)
        self.iteration += 1
        self.history.append(residuals)
        return residuals


class QuadraticPenalty(ADMM):
    r"""ADMM without its dual, U = 0: f(W) + sum_i rho_i / 2 ||W_i - Z_i||^2, Z_i the projection of W_i.

    The quadratic penalty method; the projection and the pull of ADMM without what it remembers. Errors as for
    ADMM. Source: Carreira-Perpinan and Idelbayev 2018, "Learning-Compression", Section 2 (quadratic penalty).

    >>> penalty = al.rivals.QuadraticPenalty(nn.Linear(4, 1), {"weight": al.Sparse(keep=2)})
    >>> penalty.update()["weight"].primal > 0, penalty.U["weight"][0].tolist()
    (True, [[0.0, 0.0, 0.0, 0.0]])
    """

    def update(self) -> dict[Key, Residuals]:
        """As ADMM's, and U forgotten."""
        residuals = super().update()
        for pair in self._pairs:
            pair.U.zero_()
        self._refresh()
        return residuals


class _Snapped(Partly):
    """Frozen weights, and the levels on which the others will be."""

    def __init__(self, frozen: Tensor, values: Tensor, levels: Tensor) -> None:
        super().__init__(frozen, values)
        self.register_buffer("levels", levels)


def _nearest_share(distance: Tensor, nearest: Tensor, frozen: Tensor, share: float) -> Tensor:
    """Of each level's weights the nearest ones that are free, so many that with the frozen ones they are the
    share of it, rounded up.
    """
    distance, nearest, held = (each.reshape(-1) for each in (distance, nearest, frozen))
    chosen = torch.zeros_like(held)
    for level in nearest.unique():
        mine = nearest == level
        free = (mine & ~held).nonzero().squeeze(1)
        wanted = math.ceil(share * int(mine.sum())) - int((mine & held).sum())
        if wanted > 0:
            chosen[free[distance[free].argsort(stable=True)[:wanted]]] = True
    return chosen.reshape(frozen.shape)


@torch.no_grad()
def straight_through(model: nn.Module, sets: Mapping[str, Constraint], every: int = 100) -> None:
    """Let the layers train through their projection; see `parametrizations.StraightThrough`. In place.

    `bake(model)` ends it with the projected weights. Levels whose step is given are held, all of them; others
    are looked for anew every so many steps of training. Raises ValueError, before any change, for an unknown
    layer, a set that prunes or is of low rank, a set per channel, and `every` below 1. Source: 1308.3432.

    >>> model = nn.Linear(4, 1)
    >>> model.weight.data = torch.tensor([[1.0, 2, -3, 0]])
    >>> al.rivals.straight_through(model, {"weight": al.Binary()})
    >>> model.weight.tolist()
    [[2.0, 2.0, -2.0, 0.0]]
    """
    if every < 1:
        raise ValueError(f"levels are looked for every 1 or more steps, not every {every}")
    for owners, each in _owned(model, sets):
        weight = getattr(*owners[0]).detach().clone()
        held = each.given(weight.dtype) if isinstance(each, Levels) and each.step is not None else None
        hold_tied(owners, weight, StraightThrough(weight, each.project, every, held))


def _owned(
    model: nn.Module, sets: Mapping[str, Constraint]
) -> list[tuple[list[tuple[nn.Module, str]], Constraint]]:
    """Each set with the modules and names of the tensor that it is for, several where it is tied; all are
    checked first.
    """
    for name, each in sets.items():
        if isinstance(each, LowRank):
            raise ValueError(f"{name}: {each!r} has no levels to freeze or to pass through")
        if isinstance(each, (Sparse, Both)):
            raise ValueError(f"{name}: {each!r} prunes: prune first, then give its set of few values")
        if getattr(each, "per", "layer") == "channel":
            raise ValueError(f'{name}: here one set of levels is for the whole layer, not per="channel"')
    return [(sharing(model, name), each) for name, each in sets.items()]
