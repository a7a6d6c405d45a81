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

    def check(self, numel: int, name: str) -> None:
        """Raise ValueError, naming the layer, when the set makes no sense for `numel` weights."""

    def project(self, weight: Tensor) -> Tensor:
        """The point of the set that is nearest to `weight`."""

    def hold(self, weight: Tensor) -> nn.Module:
        """A parametrization that keeps a weight in the part of the set that `weight` lies in."""


@dataclass(frozen=True)
class Sparse:
    r"""At most `keep` nonzero weights: {Z : ||Z||_0 <= keep}; or keep = floor(numel / ratio).

    Exactly one of `keep` (a count, >= 0) and `ratio` (weights per nonzero weight, >= 1, finite) is given.
    Raises ValueError otherwise. Source: 1804.03294, Eq. (4).
    """

    keep: int | None = None
    ratio: float | None = None
    by: str = "element"

    def __post_init__(self) -> None:
        groups.check_view(self.by)
        if (self.keep is None) == (self.ratio is None):
            raise ValueError("give either keep= (a count) or ratio= (weights per nonzero weight)")
        keep, ratio = self.keep, self.ratio
        if keep is not None and not (isinstance(keep, Real) and keep >= 0 and keep % 1 == 0):
            raise ValueError(f"keep is a count of weights, 0 or more, but is {keep!r}")
        if ratio is not None and not (isinstance(ratio, Real) and 1 <= ratio < math.inf):
            raise ValueError(
                f"ratio is weights per nonzero weight, 1 or more, but is {ratio!r}: "
                "for a kept fraction f write ratio=1/f"
            )

    def __repr__(self) -> str:
        size = f"keep={self.keep}" if self.ratio is None else f"ratio={self.ratio:g}"
        return f"Sparse({size})" if self.by == "element" else f"Sparse({size}, by={self.by!r})"

    def budget(self, numel: int) -> int:
        """How many of `numel` weights survive."""
        if self.keep is not None:
            return int(self.keep)
        # One rounding step up: a ratio written as numel / keep must give back that very count.
        return math.floor(math.nextafter(numel / self.ratio, math.inf))

    def check(self, numel: int, name: str) -> None:
        """Raise ValueError when more weights are to be kept than `name` has."""
        if self.budget(numel) > numel:
            raise ValueError(f"{name}: keep={self.keep} is more than its {numel} weights; lower it")

    def project(self, weight: Tensor) -> Tensor:
        """The nearest tensor with at most `budget` nonzeros; see `projections.top_k`."""
        return projections.top_k(weight, self.budget(weight.numel()))

    def hold(self, weight: Tensor) -> nn.Module:
        """A mask over the nonzeros of `weight`: they train on, the others stay zero."""
        return parametrizations.Mask(weight != 0)


@dataclass(frozen=True)
class OneOf:
    r"""Every weight is one of the given levels: {Z : Z_i in levels}.

    Raises ValueError for no level or one that is not finite. Source: 1811.01907, Section 3.
    """

    levels: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.levels or not all(map(math.isfinite, self.levels)):
            raise ValueError("levels must hold at least one value, and only finite ones")

    def check(self, numel: int, name: str) -> None:
        """Fits every layer."""

    def project(self, weight: Tensor) -> Tensor:
        """Each weight's nearest level; see `projections.nearest_level`."""
        return projections.nearest_level(weight, torch.tensor(self.levels, dtype=torch.float64))

    def hold(self, weight: Tensor) -> nn.Module:
        """The weights as they are: with levels and assignment both fixed, nothing is left to train."""
        return parametrizations.Constant(weight)
