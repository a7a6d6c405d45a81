"""Millions of numbers with little memory beside them: parts, prefix sums and searches in sorted ones.

Single precision stays what it is, and only a part at a time becomes double, so that what is done here with a
layer of 138 million weights takes a small fraction of a copy of them, once they are sorted.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

PART = 1 << 13  # numbers that are worked on at once
SMALL = 1 << 14  # up to so many, prefix sums are kept for every place
STRIDE = 32  # and beyond, for every 32nd: a part holds a whole number of these


def parts(count: int) -> Iterator[slice]:
    """The slices that cut `count` numbers into parts of `PART`."""
    return (slice(at, min(at + PART, count)) for at in range(0, count, PART))


def flat(values: Tensor) -> np.ndarray:
    """The numbers of a tensor in one row, float32 or float64; not a copy where they are that already."""
    row = values.detach().reshape(-1).cpu()
    return (row if row.dtype in (torch.float32, torch.float64) else row.double()).numpy()


def check_ascending(points: np.ndarray) -> None:
    """Raises ValueError where a number is less than the one before it, or NaN."""
    for part in parts(len(points)):
        begin = max(part.start, 1)
        if not (points[begin : part.stop] >= points[begin - 1 : part.stop - 1]).all():
            raise ValueError("the numbers do not ascend: sort them first, numpy.sort(...)")


def largest(values: np.ndarray) -> float:
    """The largest magnitude, 0 of none; NaN where there is one."""
    peaks = [np.abs(values[part]).max() for part in parts(len(values))]
    return float(np.max(peaks)) if peaks else 0.0


def mean(values: np.ndarray) -> float:
    """In double precision."""
    return float(values.mean(dtype=np.float64))


def scaled(values: np.ndarray, exponent: int) -> np.ndarray:
    """Values times 2^exponent, where they are if that is exact, else in new ones of double precision; there
    the smallest doubles may become zero.
    """
    if exponent < 0:
        floor = math.ldexp(float(np.finfo(values.dtype).tiny), -exponent)
        for part in parts(len(values)):
            size = np.abs(values[part])
            if bool(((size < floor) & (size > 0)).any()):
                return np.ldexp(values.astype(np.float64), exponent)
    return np.ldexp(values, exponent, out=values)


def up_to(points: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """How many of the ascending points lie at or below each edge; edges in double precision."""
    rounded = edges.astype(points.dtype)  # else numpy would make doubles of all points
    rounded = np.where(rounded > edges, np.nextafter(rounded, -np.inf, dtype=points.dtype), rounded)
    return np.searchsorted(points, rounded, side="right")


def runs(points: np.ndarray, most: int) -> tuple[int, np.ndarray]:
    """How many different numbers the ascending points hold, and where they start: those of all, or, where
    they are more than `most`, of every second, third, ...
    """
    count = sum(len(each) for each in _starts(points))
    every, seen, kept = -(-count // max(most, 1)), 0, []
    for starts in _starts(points):
        kept.append(starts[-seen % every :: every].copy())  # a view would keep them all
        seen += len(starts)
    return count, np.concatenate([np.empty(0, dtype=np.int64), *kept])


def _starts(points: np.ndarray) -> Iterator[np.ndarray]:
    """Where a number differs from the one before it, a part at a time; the first does."""
    for part in parts(len(points)):
        begin = max(part.start, 1)
        found = begin + np.flatnonzero(points[begin : part.stop] != points[begin - 1 : part.stop - 1])
        yield found if part.start else np.concatenate([np.zeros(1, dtype=np.int64), found])


class PrefixSums:
    r"""For each power p, sum_{j < i} h_j (x_j - shift)^p, for any i up to their number.

    Kept for every i of up to `SMALL` numbers, or of those with an importance h; of more, for every
    `STRIDE`-th, from where the rest is added when asked for.
    """

    def __init__(
        self,
        points: np.ndarray,
        powers: tuple[int, ...] = (1,),
        shift: float = 0.0,
        importance: np.ndarray | None = None,
    ) -> None:
        self._points, self._powers, self._shift = points, powers, shift
        self._stride = 1 if len(points) <= SMALL or importance is not None else STRIDE
        self._kept = np.zeros((len(powers), len(points) // self._stride + 1))
        last = np.zeros(len(powers))
        for part in parts(len(points)):
            weights = 1.0 if importance is None else importance[part]
            to = slice(part.start // self._stride + 1, part.stop // self._stride + 1)
            for row, terms in enumerate(self._terms(part)):
                weighted = weights * terms
                weighted[0] += last[row]
                running = np.cumsum(weighted)
                self._kept[row, to], last[row] = running[self._stride - 1 :: self._stride], running[-1]

    def _terms(self, where: slice | np.ndarray) -> Iterator[np.ndarray]:
        centred = self._points[where].astype(np.float64) - self._shift
        return (centred**power for power in self._powers)

    def at(self, index: np.ndarray) -> np.ndarray:
        """The sums of the first `index` numbers, (powers, *index.shape)."""
        block, rest = np.divmod(index.reshape(-1), self._stride)
        found = self._kept[:, block]
        between = np.flatnonzero(rest)
        for part in parts(len(between) * self._stride):
            asked = between[part.start // self._stride : part.stop // self._stride]
            inside = np.arange(self._stride - 1)
            where = np.minimum(block[asked, None] * self._stride + inside, len(self._points) - 1)
            for row, terms in enumerate(self._terms(where)):
                found[row, asked] += np.where(inside < rest[asked, None], terms, 0).sum(1)
        return found.reshape(-1, *index.shape)
