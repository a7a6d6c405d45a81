"""Sorted values on a line, cut into clusters: the error of any cluster at once, and the optimal cuts."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

GRID = 1024  # places for cuts in the first round of the optimum, or 16 per cluster where these are more;
# half as many again at quantiles
REACH = 4  # how far a cut may move in the second round, in places of the grid
WINDOW = 65  # places for each cut in the second and later rounds


@dataclass(frozen=True)
class Line:
    """Sorted values and the prefix sums of importance, value and squared value, each from 0, all centred."""

    points: np.ndarray
    sums: np.ndarray  # (3, n + 1)
    distinct: np.ndarray
    shift: float

    @classmethod
    def of(cls, values: np.ndarray, importance: np.ndarray | None) -> "Line":
        if importance is None:
            points, weights = np.sort(values), 1.0
        else:
            order = np.argsort(values, kind="stable")
            order = order[importance[order] > 0]
            points, weights = values[order], importance[order]
        # Away from zero S2 - S1^2 / S0 would be a small difference of large numbers.
        shift = float(np.average(points, weights=weights if importance is not None else None))
        centred = points - shift
        sums = np.zeros((3, len(points) + 1))
        for power in range(3):
            np.cumsum(weights * centred**power, out=sums[power, 1:])
        fresh = np.flatnonzero(np.concatenate([[True], points[1:] != points[:-1]]))
        return cls(points, sums, points[fresh], shift)

    def error(self, first: np.ndarray, last: np.ndarray) -> np.ndarray:
        """The squared error of the clusters points[first:last], none of them empty."""
        weight, total, square = self.sums[:, last] - self.sums[:, first]
        return np.maximum(square - total * total / weight, 0)

    def means(self, cuts: np.ndarray) -> np.ndarray:
        """The centroids of the clusters between neighbouring cuts, none of them empty."""
        weight, total, _ = np.diff(self.sums[:, cuts])
        # Rounding must not lead a mean out of its cluster, least of all that of equal values.
        return np.clip(total / weight + self.shift, self.points[cuts[:-1]], self.points[cuts[1:] - 1])

    def cuts(self, centroids: np.ndarray) -> np.ndarray:
        """Where the sorted points are cut, both ends included: one run per centroid, some maybe empty."""
        inner = np.searchsorted(self.points, halfway(centroids), side="right")
        return np.concatenate([[0], inner, [len(self.points)]])


def halfway(centroids: np.ndarray) -> np.ndarray:
    """The edges between ascending centroids: what lies on one belongs to the lower centroid."""
    lower, upper = centroids[:-1], centroids[1:]
    middle = (lower + upper) / 2
    return np.where(middle >= upper, lower, middle)  # rounded up, it would hand the upper one to the lower


def optimal_cuts(line: Line, clusters: int) -> np.ndarray:
    r"""The cuts of the clusters with the least squared error in all.

    E_j(b) = min_{a < b} E_{j-1}(a) + error(points[a:b]), by divide and conquer, since the best a never falls
    as b grows. Cuts may first lie on a grid of about `GRID` places, where more than that many values differ;
    then each cut may lie on `WINDOW` places around where it was, until none moves, and these places move
    together until they are neighbours. Up to GRID distinct values the result is the optimum; beyond, the
    best on the grid, refined (within 1e-6 of the optimum in `make bench`). Sources: the recursion of Fisher
    1958; monotone splits as in Grønlund et al. 2017 (1701.07204).
    """
    starts = np.searchsorted(line.points, line.distinct)  # a cut between equal values is never better
    places = np.append(starts, len(line.points))
    coarse = np.arange(len(places))
    if len(places) > GRID:
        coarse = _grid(line, places, max(3 * GRID // 2, 24 * clusters))
    cuts = coarse[_best_cuts(line, places[coarse], clusters)]
    if len(coarse) < len(places) and clusters > 1:
        cuts = _refined(line, places, coarse, cuts)
    return places[cuts]


def _grid(line: Line, places: np.ndarray, count: int) -> np.ndarray:
    """About `count` of the places, ends included: many where optimal clusters are narrow.

    Their density is that of the centroids of many optimal clusters, f^(1/3), where f is that of the mass: a
    stretch of width d and mass m has (m d^2)^(1/3) of them. A third lie at quantiles, whatever the widths,
    so that there are always enough. Source: Panter and Dite 1951.
    """
    last = len(places) - 1
    mass = line.sums[0, places]
    by_mass = np.searchsorted(mass, np.linspace(0, mass[-1], 2 * count))
    at = np.unique(np.concatenate([np.linspace(0, last, 2 * count).astype(int), np.minimum(by_mass, last)]))
    value = line.distinct[np.minimum(at, last - 1)]
    widths, masses = np.diff(value), np.diff(mass[at])
    share = np.concatenate([[0.0], np.cumsum(np.cbrt(masses * widths**2))])
    inner = np.searchsorted(line.distinct, np.interp(np.linspace(0, share[-1], 2 * count // 3), share, value))
    return np.unique(np.concatenate([inner, np.linspace(0, last, count // 3).astype(int), [0, last]]))


def _best_cuts(line: Line, places: np.ndarray, clusters: int) -> np.ndarray:
    """Which of the ascending `places`, first and last included, cut off the best `clusters` clusters."""
    last = len(places) - 1
    best = line.error(places[:1], places[1:])  # E_1 at every place but the first
    best = np.concatenate([[np.inf], best])
    splits = []
    for count in range(2, clusters + 1):
        best, split = _next_best(line, places, best, count)
        splits.append(split)
    cuts = [last]
    for split in reversed(splits):
        cuts.append(int(split[cuts[-1]]))
    return np.array([0, *reversed(cuts)])


def _next_best(
    line: Line, places: np.ndarray, before: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """E_count at every place from E_{count-1}, and the place of its last inner cut."""
    last = len(places) - 1
    best, split = np.full(last + 1, np.inf), np.zeros(last + 1, dtype=int)
    stride = 1 << (last - count + 1).bit_length()
    while stride := stride // 2:
        # All places at this depth together: the halves between those that are solved.
        b = np.arange(count + stride - 1, last + 1, 2 * stride)
        low = np.where(b - stride < count, count - 1, split[b - stride])
        high = np.minimum(np.where(b + stride > last, last, split[np.minimum(b + stride, last)]), b - 1)
        lengths = high - low + 1
        ends = np.cumsum(lengths)
        begins = ends - lengths
        a = np.arange(ends[-1]) + np.repeat(low - begins, lengths)
        errors = before[a] + line.error(places[a], np.repeat(places[b], lengths))
        best[b] = np.minimum.reduceat(errors, begins)
        hits = np.flatnonzero(errors == np.repeat(best[b], lengths))
        split[b] = a[hits[np.searchsorted(hits, begins)]]
    return best, split


def _refined(line: Line, places: np.ndarray, coarse: np.ndarray, cuts: np.ndarray) -> np.ndarray:
    """Cuts on a grid, moved to the best places between their neighbours on the grid, ever finer."""
    inner, last = cuts[1:-1], len(coarse) - 1
    at = np.searchsorted(coarse, inner)
    ahead, behind = coarse[np.minimum(at + REACH, last)], coarse[np.maximum(at - REACH, 0)]
    reach = np.maximum(ahead - inner, inner - behind)
    steps = np.linspace(-1, 1, WINDOW)
    least = np.inf
    while True:
        offsets = np.round(np.maximum(reach, WINDOW // 2)[:, None] * steps).astype(int)
        around = np.clip(cuts[1:-1, None] + offsets, 1, len(places) - 2)
        moved, error = _best_in_windows(line, places, around)
        if error < least:
            cuts, least = moved, error
        elif reach.max() <= WINDOW // 2:
            return cuts
        else:
            reach = reach // (WINDOW // 4)


def _best_in_windows(line: Line, places: np.ndarray, around: np.ndarray) -> tuple[np.ndarray, float]:
    """The best cuts where inner cut j lies on one of the places around[j], and their squared error."""
    best = line.error(np.zeros(1, dtype=int), places[around[0]])
    choices = []
    for earlier, later in pairwise(around):
        a, b = earlier[:, None], later[None, :]
        allowed = a < b
        errors = best[:, None] + line.error(places[np.where(allowed, a, 0)], places[b])
        errors = np.where(allowed, errors, np.inf)
        choices.append(errors.argmin(0))
        best = errors.min(0)
    best = best + line.error(places[around[-1]], places[-1:])
    j = int(best.argmin())
    error, chosen = float(best[j]), [j]
    for choice in reversed(choices):
        chosen.append(int(choice[chosen[-1]]))
    inner = around[np.arange(len(around)), chosen[::-1]]
    return np.concatenate([[0], inner, [len(places) - 1]]), error
