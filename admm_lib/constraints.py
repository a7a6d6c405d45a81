"""Constraint sets: small frozen descriptions of what a layer's weights may be.

Each set knows four things: whether it fits a layer (`check`), its Euclidean projection (`project`), and
how weights that satisfy it are held there while training goes on (`hold`). A set never holds weights.
"""

import math
from dataclasses import dataclass
from numbers import Real
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from . import groups, parametrizations, projections


@runtime_checkable
class Constraint(Protocol):
    """What ADMM asks of a set."""

    def check(self, shape: torch.Size, name: str) -> None:
        """Raise ValueError, naming the layer, when the set makes no sense for a weight of that shape.

        Several layers under one set are checked, and projected, as one long vector.
        """

    def project(self, weight: Tensor) -> Tensor:
        """The point of the set that is nearest to `weight`, of the same shape and dtype."""

    def hold(self, weight: Tensor) -> nn.Module:
        """A parametrization that keeps a weight in the part of the set that `weight` lies in."""


@dataclass(frozen=True)
class Sparse:
    r"""At most `keep` nonzero groups: {Z : ||Z||_0 <= keep} of single weights, or of what the view `by` says.

    Exactly one of `keep` (a count of groups, >= 0) and `ratio` (groups per nonzero group, >= 1, finite) is
    given; then keep = floor(groups / ratio). Views: see `groups`; `group` is the size of a "block", (rows,
    columns), or the m of "n:m", where `keep` is n, or floor(m / ratio). Raises ValueError otherwise. Sources:
    1804.03294, Eq. (4); filters, channels and columns: 1907.02124, Section 3; n:m: 2104.08378.

    >>> al.Sparse(keep=2).project(torch.tensor([3.0, -1, 0.5, 2])).tolist()
    [3.0, 0.0, 0.0, 2.0]
    >>> al.Sparse(ratio=2, by="filter").project(torch.tensor([[1.0, 1], [2, 0]])).tolist()
    [[0.0, 0.0], [2.0, 0.0]]
    """

    keep: int | None = None
    ratio: float | None = None
    by: str = "element"
    group: groups.Group = None

    def __post_init__(self) -> None:
        if isinstance(self.group, list):  # as a recipe writes a pair
            object.__setattr__(self, "group", tuple(self.group))
        groups.check_view(self.by, self.group)
        if (self.keep is None) == (self.ratio is None):
            raise ValueError("give either keep= (a count) or ratio= (weights per nonzero weight)")
        keep, ratio = self.keep, self.ratio
        if keep is not None and not (isinstance(keep, Real) and keep >= 0 and keep % 1 == 0):
            raise ValueError(f"keep is a count, 0 or more, but is {keep!r}")
        if ratio is not None and not (isinstance(ratio, Real) and 1 <= ratio < math.inf):
            raise ValueError(
                f"ratio is {self.things} per nonzero {self.things[:-1]}, 1 or more, but is {ratio!r}: "
                "for a kept fraction f write ratio=1/f"
            )

    @property
    def things(self) -> str:
        """What is counted, for messages."""
        return "weights" if self.by in ("element", "n:m") else f"{self.by}s"

    def __repr__(self) -> str:
        parts = [f"keep={self.keep}" if self.ratio is None else f"ratio={self.ratio:g}"]
        parts += [] if self.by == "element" else [f"by={self.by!r}"]
        parts += [] if self.group is None else [f"group={self.group}"]
        return f"Sparse({', '.join(parts)})"

    def budget(self, count: int) -> int:
        """How many of `count` groups survive."""
        if self.keep is not None:
            return int(self.keep)
        # One rounding step up: a ratio written as count / keep must give back that very keep.
        return math.floor(math.nextafter(count / self.ratio, math.inf))

    def count(self, shape: torch.Size) -> int:
        """How many groups a weight of that shape has, or among n:m neighbours m: no budget is larger."""
        return groups.count(shape, self.by, self.group)

    def check(self, shape: torch.Size, name: str) -> None:
        """Raise ValueError when more is to be kept than `name` has, or when it cannot be seen like that."""
        try:
            count = self.count(shape)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        if self.budget(count) > count:
            has = f"m={count}" if self.by == "n:m" else f"its {count} {self.things}"
            raise ValueError(f"{name}: keep={self.keep} is more than {has}; lower it")

    def chosen(self, weight: Tensor) -> Tensor:
        """True where an entry stays: in the groups of the largest l2 norm, ties to the first of them."""
        budget = self.budget(self.count(weight.shape))
        if self.by == "n:m":
            sets = groups.neighbours(weight.detach().abs(), self.group)
            order = sets.argsort(dim=1, descending=True, stable=True)[:, :budget]
            stays = torch.zeros_like(sets, dtype=torch.bool).scatter_(1, order, True)
            return groups.from_neighbours(stays, weight.shape)
        single = self.by == "element"  # whose norms are a copy of the weight that need not be made
        sizes = weight if single else groups.norms(weight, self.by, self.group)
        stays = projections.top_k_mask(sizes, budget)
        return groups.spread(stays, weight.shape, self.by, self.group)

    def project(self, weight: Tensor) -> Tensor:
        """The nearest tensor with at most `budget` nonzero groups: those of the largest l2 norm stay.

        For finite weights: `ADMM` and `allocation.project`, which know a layer's name, refuse others.
        """
        return torch.where(self.chosen(weight), weight, 0)

    def hold(self, weight: Tensor) -> nn.Module:
        """A mask over the nonzeros of `weight`: they train on, the others stay zero."""
        return parametrizations.Mask(weight != 0)


@dataclass(frozen=True)
class OneOf:
    r"""Every weight is one of the given levels: {Z : Z_i in levels}.

    Raises ValueError for no level or one that is not finite. Source: 1811.01907, Section 3.

    >>> al.OneOf((-1.0, 0.0, 1.0)).project(torch.tensor([0.4, 0.6, -2])).tolist()
    [0.0, 1.0, -1.0]
    """

    levels: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.levels or not all(map(math.isfinite, self.levels)):
            raise ValueError("levels must hold at least one value, and only finite ones")

    def check(self, shape: torch.Size, name: str) -> None:
        """Fits every layer."""

    def project(self, weight: Tensor) -> Tensor:
        """Each weight's nearest level; see `projections.nearest_level`. ValueError for NaN."""
        if bool(weight.isnan().any()):
            raise ValueError("a weight that is NaN has no nearest level")
        return projections.nearest_level(weight, torch.tensor(self.levels, dtype=torch.float64))

    def hold(self, weight: Tensor) -> nn.Module:
        """The weights as they are: with levels and assignment both fixed, nothing is left to train."""
        return parametrizations.Constant(weight)


@dataclass(frozen=True)
class LowRank:
    r"""The matrix of a layer, a row for each output, has at most that rank: {Z : rank(Z) <= rank}.

    `rank` is a count, 1 or more; ValueError otherwise. Then two layers of rank * (rows + columns) weights do
    the work of one, see `low_rank.factored`. The rival of pruning in 1510.00149, Section 6.1.

    >>> al.LowRank(1).project(torch.tensor([[3.0, 1], [1, 3]])).round(decimals=4).tolist()
    [[2.0, 2.0], [2.0, 2.0]]
    """

    rank: int

    def __post_init__(self) -> None:
        if not (type(self.rank) is int and self.rank >= 1):
            raise ValueError(f"rank is a count, 1 or more, but is {self.rank!r}")

    def check(self, shape: torch.Size, name: str) -> None:
        """Raise ValueError for what is no matrix, several layers as one included, or has not that many rows
        and columns.
        """
        if len(shape) < 2:
            raise ValueError(f"{name}: only one weight of two dimensions or more has a rank")
        most = min(shape[0], math.prod(shape[1:]))
        if self.rank > most:
            raise ValueError(f"{name}: rank {self.rank} is more than its {most}: lower it")

    def project(self, weight: Tensor) -> Tensor:
        """The nearest of that rank; see `projections.low_rank`."""
        return projections.low_rank(weight, self.rank)

    def hold(self, weight: Tensor) -> nn.Module:
        """The product of two factors, which both train on."""
        return parametrizations.Factors(weight, self.rank)
