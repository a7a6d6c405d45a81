"""Sorted values on a line, cut into clusters: the error of any cluster at once, and the optimal cuts."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .ordered import PrefixSums, mean, runs, up_to

GRID = 1536  # places for cuts in the first round of the optimum, or 24 for each cluster where these are more
REACH = 4  # how far a cut may move in the second round, in places of the grid
WINDOW = 65  # places for each cut in the second and later rounds


@dataclass(frozen=True)
class Line:
    """Sorted values, the prefix sums of importance, value and squared value, all centred; how many of them
    are different; and where these start, or some of them where they are many.
    """

    points: np.ndarray
    importance: np.ndarray | None
    shift: float
    sums: PrefixSums
    distinct: int
    starts: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, importance: np.ndarray | None, clusters: int) -> "Line":
        """A line of values, which it sorts where they are, but for those that have no importance."""
        if importance is None:
            values.sort()
            points = values
        else:
            order = np.argsort(values, kind="stable")
            order = order[importance[order] > 0]
            points, importance = values[order], importance[order]
        # Away from zero S2 - S1^2 / S0 would be a small difference of large numbers.
        shift = float(np.average(points, weights=importance) if importance is not None else mean(points))
        sums = PrefixSums(points, (0, 1, 2), shift, importance)
        return cls(points, importance, shift, sums, *runs(points, _places(clusters)))

    @property
    def values(self) -> np.ndarray:
        """The different values, or some of them where they are many."""
        return self.points[self.starts].astype(np.float64)

    def start(self, index: np.ndarray) -> np.ndarray:
        """The first of the points that equal the one there: a cut between equal values is never better."""
        return np.searchsorted(self.points, self.points[index])

    def reached(self, places: np.ndarray) -> np.ndarray:
        """The importance of all points before each of these."""
        return self.sums.at(places)[0] if self.importance is not None else places.astype(np.float64)

    def mass(self) -> np.ndarray:
        """The importance of all points."""
        return np.diff(self.reached(np.arange(len(self.points) + 1)))

    def at_mass(self, levels: np.ndarray) -> np.ndarray:
        """Up to which points the importance adds up to these levels of all of it, from 0 to 1."""
        if self.importance is None:
            reached = np.ceil(levels * len(self.points)).astype(int)
        else:
            running = self.reached(np.arange(len(self.points) + 1))
            reached = np.searchsorted(running, levels * running[-1])
        return np.clip(reached - 1, 0, len(self.points) - 1)

    def means(self, cuts: np.ndarray) -> np.ndarray:
        """The centroids of the clusters between neighbouring cuts, none of them empty."""
        weight, total, _ = np.diff(self.sums.at(cuts))
        # Rounding must not lead a mean out of its cluster, least of all that of equal values.
        return np.clip(total / weight + self.shift, self.points[cuts[:-1]], self.points[cuts[1:] - 1])

    def cuts(self, centroids: np.ndarray) -> np.ndarray:
        """Where the sorted points are cut, both ends included: one run per centroid, some maybe empty."""
        return np.concatenate([[0], up_to(self.points, halfway(centroids)), [len(self.points)]])


def error(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The squared error of clusters, none of them empty, by the prefix sums at both of their ends."""
    weight, total, square = after - before
    return np.maximum(square - total * total / weight, 0)


def halfway(centroids: np.ndarray) -> np.ndarray:
    """The edges between ascending centroids: what lies on one belongs to the lower centroid."""
    lower, upper = centroids[:-1], centroids[1:]
    middle = (lower + upper) / 2
    return np.where(middle >= upper, lower, middle)  # rounded up, it would hand the upper one to the lower


def optimal_cuts(line: Line, clusters: int) -> np.ndarray:
    r"""The cuts of the clusters with the least squared error in all.

    E_j(b) = min_{a < b} E_{j-1}(a) + error(points[a:b]), by divide and conquer, since the best a never falls
    as b grows. Where more than `GRID` values differ, cuts may first lie on about so many places; then each
    cut may lie on `WINDOW` places around where it was, until none moves, and these places move together until
    they are neighbours. Up to GRID distinct values the result is the optimum; beyond, the best on those
    places, refined (in `make bench` and tests within 1e-5 of the optimum). Sources: the recursion of Fisher
    1958; monotone splits as in Grønlund et al. 2017 (1701.07204).
    """
    count = len(line.points)
    few = len(line.starts) == line.distinct
    coarse = np.append(line.starts if few else _grid(line, _places(clusters)), count)
    at = _best_cuts(line.sums.at(coarse), clusters)
    if few or clusters == 1:
        return coarse[at]
    ahead, behind = coarse[np.minimum(at + REACH, len(coarse) - 1)], coarse[np.maximum(at - REACH, 0)]
    reach = np.maximum(ahead - coarse[at], coarse[at] - behind)
    return np.concatenate([[0], _refined(line, coarse[at[1:-1]], reach[1:-1]), [count]])


def _places(clusters: int) -> int:
    """How many places a cut may first have, or about."""
    return max(GRID, 24 * clusters)


def _grid(line: Line, count: int) -> np.ndarray:
    """About `count` starts of values, the first included: many where optimal clusters are narrow.

    Their density is that of the centroids of many optimal clusters, f^(1/3), where f is that of the mass: a
    stretch of width d and mass m has (m d^2)^(1/3) of them. A third lie at quantiles, whatever the widths,
    so that there are always enough. Source: Panter and Dite 1951.
    """
    last = len(line.points) - 1
    everywhere = np.linspace(0, last, 4 * count).astype(int)
    at = np.unique(np.concatenate([everywhere, line.starts, line.at_mass(np.linspace(0, 1, 2 * count))]))
    value, mass = line.points[at].astype(np.float64), line.reached(at)
    share = np.concatenate([[0.0], np.cumsum(np.cbrt(np.diff(mass) * np.diff(value) ** 2))])
    inner = up_to(line.points, np.interp(np.linspace(0, share[-1], 2 * count // 3), share, value))
    chosen = line.start(np.concatenate([np.minimum(inner, last), everywhere[::12], [0, last]]))
    # Quantiles may all lie among equal values: a third as well where values differ, at least one a cluster.
    chosen = np.union1d(chosen, line.starts[:: max(1, 3 * len(line.starts) // count)])
    # Finer cuts are looked for among neighbouring points, and would not find out of many that are equal.
    behind = np.searchsorted(line.points, line.points[chosen], side="right")
    behind = behind[(behind - chosen > WINDOW // 2) & (behind <= last)]
    return np.unique(np.concatenate([chosen, behind]))


def _best_cuts(sums: np.ndarray, clusters: int) -> np.ndarray:
    """Which of the ascending places with these sums, first and last included, cut off the best clusters."""
    last = sums.shape[1] - 1
    best = error(sums[:, :1], sums[:, 1:])  # E_1 at every place but the first
    best = np.concatenate([[np.inf], best])
    splits = []
    for count in range(2, clusters + 1):
        best, split = _next_best(sums, best, count)
        splits.append(split)
    cuts = [last]
    for split in reversed(splits):
        cuts.append(int(split[cuts[-1]]))
    return np.array([0, *reversed(cuts)])


def _next_best(sums: np.ndarray, before: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """E_count at every place from E_{count-1}, and the place of its last inner cut."""
    last = sums.shape[1] - 1
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
        errors = before[a] + error(sums[:, a], np.repeat(sums[:, b], lengths, axis=1))
        best[b] = np.minimum.reduceat(errors, begins)
        hits = np.flatnonzero(errors == np.repeat(best[b], lengths))
        split[b] = a[hits[np.searchsorted(hits, begins)]]
    return best, split


def _refined(line: Line, cuts: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """Inner cuts moved to the best of the places around them, first up to `reach` away, then ever nearer."""
    steps, least = np.linspace(-1, 1, WINDOW), np.inf
    while True:
        offsets = np.round(np.maximum(reach, WINDOW // 2)[:, None] * steps).astype(int)
        around = line.start(np.clip(cuts[:, None] + offsets, 1, len(line.points) - 1))
        moved, found = _best_in_windows(line, around)
        if found < least:
            cuts, least = moved, found
        elif reach.max() <= WINDOW // 2:
            return cuts
        else:
            reach = reach // (WINDOW // 4)


def _best_in_windows(line: Line, around: np.ndarray) -> tuple[np.ndarray, float]:
    """The best inner cuts where cut j lies on one of the points around[j], and their squared error."""
    none, whole = line.sums.at(np.array([0, len(line.points)])).T[:, :, None]
    sums = line.sums.at(around).swapaxes(0, 1)  # (inner cuts, 3, WINDOW)
    first = around[0] > 0  # no cluster is empty
    best = np.where(first, error(none, np.where(first, sums[0], whole)), np.inf)
    choices = []
    for (a, b), (before, after) in zip(pairwise(around), pairwise(sums), strict=True):
        allowed = a[:, None] < b
        at_a = np.where(allowed, before[:, :, None], none[:, :, None])
        at_b = np.where(b > 0, after, whole)[:, None, :]
        errors = np.where(allowed, best[:, None] + error(at_a, at_b), np.inf)
        choices.append(errors.argmin(0))
        best = errors.min(0)
    best = best + error(sums[-1], whole)
    j = int(best.argmin())
    least, chosen = float(best[j]), [j]
    for choice in reversed(choices):
        chosen.append(int(choice[chosen[-1]]))
    return around[np.arange(len(around)), chosen[::-1]], least
