r"""Constraint sets of few values: clusters, equally distant levels, powers of two, ternary, binary.

In all of them **zeros stay zero**: a weight that is exactly zero was pruned, belongs to none of the values,
and takes no part in finding them. "Nearest" below is among the tensors with these zeros. The values are found
anew by every projection, so that ADMM re-centres them at each iteration. `per="channel"` finds them for
each filter (each output) by itself. What is in a set already is left as it is, bit for bit.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from . import kmeans, levels, ordered, parametrizations
from .line import halfway

Snap = Callable[[np.ndarray], np.ndarray]


class _Grain(NamedTuple):
    """What a dtype can hold: significant bits, and its smallest and largest number, on the scale of weights
    divided by 2^exponent.
    """

    digits: int
    least: float
    most: float
    exponent: int

    @classmethod
    def of(cls, dtype: torch.dtype, exponent: int) -> "_Grain":
        """That of a dtype, on that scale."""
        info = torch.finfo(dtype)
        digits = 1 - round(math.log2(info.eps))
        most = math.ldexp(info.max, -exponent) if exponent > 0 else math.inf
        return cls(digits, math.ldexp(info.tiny * info.eps, -exponent), most, exponent)

    def step(self, q: float, largest: int, most: int) -> float:
        """The number closest to q, of up to `most` digits, whose multiples up to `largest` are all exact."""
        digits = max(1, min(most, self.digits - (largest - 1).bit_length()))
        unit = max(math.ldexp(1.0, math.frexp(q)[1] - digits), self.least)
        return max(round(q / unit), 1) * unit


class _FewValues(ABC):
    """What the sets below share: they differ in how the nonzero weights are snapped to their values."""

    per: str

    def __post_init__(self) -> None:
        bits = getattr(self, "bits", 1)
        if type(bits) is not int or not 1 <= bits <= 8:
            raise ValueError(f"bits is a whole number from 1 to 8, but is {bits!r}")
        if self.per not in ("layer", "channel"):
            raise ValueError(f'per must be "layer" or "channel", but is {self.per!r}')

    def check(self, shape: torch.Size, name: str) -> None:
        """Raise ValueError where `per` does not fit the layer `name`."""
        if self.per == "channel" and len(shape) < 2:
            raise ValueError(f'{name}: per="channel" needs the weight of one layer, with outputs and inputs')

    def project(self, weight: Tensor) -> Tensor:
        """Each nonzero weight's nearest value, after finding the values. ValueError for NaN or infinity."""
        values = ordered.flat(weight)
        peak = ordered.largest(values)
        if not math.isfinite(peak):
            raise ValueError("a weight that is NaN or infinite has no nearest value")
        exponent = math.frexp(peak)[1]
        result = torch.empty(weight.shape, dtype=weight.dtype)
        count = len(weight) if self.per == "channel" else 1
        rows = (count, weight.numel() // max(count, 1))
        for row, out in zip(values.reshape(rows), result.reshape(rows), strict=True):
            # Squares must neither overflow nor vanish.
            nonzero = ordered.scaled(row[row != 0], -exponent)
            if nonzero.dtype == np.float64:
                nonzero = nonzero[nonzero != 0]  # beside the largest, some may have been too small
            snap = self._snap(nonzero, _Grain.of(weight.dtype, exponent)) if len(nonzero) else np.copy
            del nonzero  # as large as the row
            _apply(snap, row, out, exponent)
        as_it_was = weight.is_cpu and weight.is_contiguous()
        return result if as_it_was else torch.empty_like(weight).copy_(result)

    @abstractmethod
    def _snap(self, values: np.ndarray, grain: _Grain) -> Snap:
        """What gives nonzero weights, a part of them in double precision, their nearest values; these are
        found for `values`, which may be overwritten.
        """

    def hold(self, weight: Tensor) -> nn.Module:
        """The weights as they are; sets with something left to train hold it by that."""
        return parametrizations.Constant(weight)


def _magnitudes(values: np.ndarray) -> np.ndarray:
    """Ascending, where the values were."""
    np.abs(values, out=values).sort()
    return values


def _apply(snap: Snap, row: np.ndarray, out: Tensor, exponent: int) -> None:
    """Write what the nonzero values of a row snap to, on the scale divided by 2^exponent, to `out`."""
    for part in ordered.parts(len(row)):
        values = np.ldexp(row[part].astype(np.float64), -exponent)
        nearest, kept = np.zeros(len(values)), values != 0
        nearest[kept] = np.ldexp(snap(values[kept]), exponent)
        out[part] = torch.from_numpy(nearest)


@dataclass(frozen=True)
class Clusters(_FewValues):
    r"""Every nonzero weight is one of 2^bits values, whichever are best: {Z : |{Z_i != 0}| <= 2^bits}.

    The projection is k-means in one dimension, from the start `init`: the nearest point of the set for
    "optimal" (see `line.optimal_cuts`), a local optimum for the others (`seed` is that of the random ones),
    or what is reached on the way to it after some `iterations`. A centroid may come out as zero, and prunes
    its weights then. Held by a codebook, which goes on training. Raises ValueError for bits outside 1 to 8,
    an unknown start, an unknown `per`, and a seed or iterations that are no whole number. Sources:
    1811.01907, Section 3 (clusters inside ADMM); 1510.00149, Section 3 (the codebook).

    >>> al.Clusters(bits=1).project(torch.tensor([1.0, 2, 0, -3, -4])).tolist()
    [1.5, 1.5, 0.0, -3.5, -3.5]
    """

    bits: int
    init: str = "optimal"
    per: str = "layer"
    seed: int = 0
    iterations: int = kmeans.ITERATIONS

    def __post_init__(self) -> None:
        super().__post_init__()
        kmeans.check(2**self.bits, self.init, torch.Generator())
        if type(self.seed) is not int:
            raise ValueError(f"seed is a whole number, but is {self.seed!r}")
        if type(self.iterations) is not int or self.iterations < 0:
            raise ValueError(f"iterations is a whole number, 0 or more, but is {self.iterations!r}")

    def _snap(self, values: np.ndarray, grain: _Grain) -> Snap:
        more = {"generator": torch.Generator().manual_seed(self.seed), "iterations": self.iterations}
        book, *_ = kmeans.fit(values, 2**self.bits, self.init, **more)
        edges = halfway(book)
        return lambda part: book[np.searchsorted(edges, part)]

    def hold(self, weight: Tensor) -> nn.Module:
        """A codebook: which weights are equal stays, what they equal trains."""
        return parametrizations.Codebook(weight, self.per)


@dataclass(frozen=True)
class Levels(_FewValues):
    r"""Every nonzero weight is one of the levels -mq, ..., -q, q, ..., mq: equally distant, m = 2^(bits-1).

    The projection finds q > 0 with the least squared error (`levels.best_step`, which says how surely),
    rounded so that all levels are exact in the weight's dtype (in float32 to one part in 2^(25-bits), in
    bfloat16 only in 2^(9-bits)), and takes each weight to its nearest level, from halfway to the one nearer
    to zero. With `digits`, q has that many significant bits at most, which makes a file shorter. With `step`,
    q is that, rounded so, and not looked for. Raises ValueError for bits outside 1 to 8, digits outside 1 to
    24, a step that is not positive and finite, and an unknown `per`. Source: 1811.01907, Section 3; no level
    is zero, because zeros are what pruning made.

    >>> al.Levels(bits=2).project(torch.tensor([0.5, -2.5, 0, 0.5])).tolist()
    [1.0, -2.0, 0.0, 1.0]
    """

    bits: int
    per: str = "layer"
    digits: int = 24
    step: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if type(self.digits) is not int or not 1 <= self.digits <= 24:
            raise ValueError(f"digits is a whole number from 1 to 24, but is {self.digits!r}")
        if self.step is not None and not (isinstance(self.step, Real) and 0 < self.step < math.inf):
            raise ValueError(f"step is a positive number, but is {self.step!r}")

    def project(self, weight: Tensor) -> Tensor:
        """Each nonzero weight's nearest level. ValueError for NaN or infinity, or a step beyond the dtype."""
        if self.step is not None and self.step > torch.finfo(weight.dtype).max:
            raise ValueError(f"step={self.step:g} is more than {weight.dtype} holds: lower it")
        return super().project(weight)

    def given(self, dtype: torch.dtype) -> Tensor:
        """All levels of a set with a `step` that the dtype holds, ascending."""
        count = 2 ** (self.bits - 1)
        q = _Grain.of(dtype, 0).step(self.step, count, self.digits)
        sizes = q * torch.arange(1, count + 1, dtype=torch.float64)
        sizes = sizes[sizes <= torch.finfo(dtype).max]
        return torch.cat([-sizes.flip(0), sizes]).to(dtype)

    def _snap(self, values: np.ndarray, grain: _Grain) -> Snap:
        count = 2 ** (self.bits - 1)
        if self.step is not None:
            q = grain.step(math.ldexp(self.step, -grain.exponent), count, self.digits)
        else:
            m = _magnitudes(values)
            if levels.are_multiples(m, count, self.digits if self.digits < 24 else None):
                return lambda part: part
            q = grain.step(levels.best_step(m, count), count, self.digits)
        # Rounded up, the last level may lie beyond the dtype's largest number.
        most = count if q * count <= grain.most else grain.most // q
        return lambda part: np.copysign(q * np.clip(np.ceil(np.abs(part) / q - 0.5), 1, most), part)


@dataclass(frozen=True)
class PowerOfTwo(_FewValues):
    r"""Every nonzero weight is +-2^e, for 2^(bits-1) neighbouring integers e: products become shifts.

    The projection finds the largest exponent with the least squared error (`levels.best_exponent`); from
    halfway between two powers to the lower. Raises ValueError for bits outside 1 to 8 and an unknown `per`.
    Source: 1811.01907, Section 3.

    >>> al.PowerOfTwo(bits=2).project(torch.tensor([0.9, -2.3, 0, 3.1])).tolist()
    [1.0, -2.0, 0.0, 2.0]
    """

    bits: int
    per: str = "layer"

    def _snap(self, values: np.ndarray, grain: _Grain) -> Snap:
        count = 2 ** (self.bits - 1)
        top = levels.best_exponent(_magnitudes(values), count, grain.most)
        powers = np.exp2(np.arange(top - count + 1, top + 1, dtype=float))
        powers = powers[powers >= grain.least]
        edges = (powers[1:] + powers[:-1]) / 2
        return lambda part: np.copysign(powers[np.searchsorted(edges, np.abs(part))], part)


@dataclass(frozen=True)
class Ternary(_FewValues):
    r"""Every weight is -a, 0 or a: the nearest such tensor, of all a > 0 and all choices of zeros.

    The k largest magnitudes are kept where their sum squared over k is largest, and a is their mean
    (`levels.best_ternary`). Held by its signs; a goes on training. Raises ValueError for an unknown `per`.
    Source: 1605.04711, Eq. (4), solved exactly.

    >>> al.Ternary().project(torch.tensor([-2.5, 0.1, 2, 3])).tolist()
    [-2.5, 0.0, 2.5, 2.5]
    """

    per: str = "layer"

    def _snap(self, values: np.ndarray, grain: _Grain) -> Snap:
        m = _magnitudes(values)
        a, keep = levels.best_ternary(m)
        if m[0] == m[-1]:
            return lambda part: part
        # Among equal magnitudes the gain is largest before the first or with the last: all stay, or none.
        least = float(m[-keep])
        return lambda part: np.where(np.abs(part) >= least, np.copysign(a, part), 0)

    def hold(self, weight: Tensor) -> nn.Module:
        """Signs and zeros stay; the magnitude trains."""
        return parametrizations.Scaled(weight, self.per)


@dataclass(frozen=True)
class Binary(_FewValues):
    r"""Every nonzero weight is -a or a.

    The nearest such tensor has the same signs, and as a the mean magnitude. Held by its signs; a goes on
    training. Raises ValueError for an unknown `per`. Source: 1603.05279, Eq. (6); inside ADMM 1903.09769.

    >>> al.Binary().project(torch.tensor([-1.0, 0, 2, 3])).tolist()
    [-2.0, 0.0, 2.0, 2.0]
    """

    per: str = "layer"

    def _snap(self, values: np.ndarray, grain: _Grain) -> Snap:
        m = _magnitudes(values)
        if m[0] == m[-1]:
            return lambda part: part
        a = ordered.mean(m)
        return lambda part: np.copysign(a, part)

    def hold(self, weight: Tensor) -> nn.Module:
        """Signs stay; the magnitude trains."""
        return parametrizations.Scaled(weight, self.per)
