r"""One-dimensional k-means: five starts, Lloyd's iteration on sorted values, and the optimum.

    minimize over c_1..c_k   sum_i h_i min_j (w_i - c_j)^2            (h_i: importance, 1 unless given)

In one dimension a cluster is a run of the sorted values, so that prefix sums of h, h w and h w^2 give the
mean and the squared error of any cluster at once: after sorting, an iteration costs O(k log n).
All of it runs on the CPU and counts in double precision. Beside the labels it takes a copy of the values, and
a quarter of one; the random starts, and importance, several.
"""

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral

import numpy as np
import torch
from torch import Tensor

from . import ordered
from .line import Line, halfway, optimal_cuts

ITERATIONS = 10_000  # at most; each takes microseconds
RANGE = 1e12  # of importance: beyond it differences of prefix sums lose the light values


@dataclass(frozen=True)
class Clustering:
    """Centroids (k,), ascending, float64; labels (int32), shaped like the values; their squared error.

    `iterations` of Lloyd were made, and `relocated` counts the centroids that had run out of points and
    were set anew.
    """

    centroids: Tensor
    labels: Tensor
    error: float
    iterations: int
    relocated: int


def kmeans(
    values: Tensor,
    clusters: int,
    init: str = "optimal",
    *,
    importance: Tensor | None = None,
    generator: torch.Generator | None = None,
    iterations: int = ITERATIONS,
) -> Clustering:
    r"""Cluster `values` (any shape) by Lloyd's iteration from `init`, until no label changes or `iterations`.

    Starts: "forgy" (k different values drawn at random), "density" (evenly spaced in the cumulative
    distribution), "linear" (evenly spaced from the least to the largest value), "k-means++" (drawn one
    after the other by squared distance), "optimal" (the least squared error there is; see
    `line.optimal_cuts`). The random ones need a `generator`. `iterations=0` keeps the start's centroids. A
    value halfway between two centroids takes the lower one. `importance`, >= 0 and shaped like `values`,
    weighs the squared errors; what has none is only labelled. A centroid that runs out of points moves to
    the value that lies farthest from its centroid.

    Fewer distinct values than `clusters` give as many centroids as there are values, and no error.
    Raises ValueError for no values, NaN or infinity among them, clusters < 1, iterations < 0, an unknown
    start, a random one without a generator, and importance that has another shape, is negative or not finite,
    0 everywhere, or ranges over more than a factor of `RANGE`. Source: 1510.00149, Sections 3.1 and 3.2.

    >>> found = al.kmeans.kmeans(torch.tensor([1.0, 11, 2, 9]), clusters=2)
    >>> found.centroids.tolist(), found.labels.tolist(), found.error
    ([1.5, 10.0], [0, 1, 0, 1], 2.5)
    """
    check(clusters, init, generator)
    if iterations < 0:
        raise ValueError(f"iterations must not be negative, but is {iterations}")
    flat = ordered.flat(values)
    if flat.size == 0:
        raise ValueError("there are no values to cluster")
    exponent = _exponent(flat, "values")
    weights = None if importance is None else _importance(importance, values)
    # Squares must neither overflow nor vanish.
    found = fit(ordered.scaled(flat.copy(), -exponent), clusters, init, weights, generator, iterations)
    edges, book = halfway(found[0]), found[0]
    labels = np.empty(len(flat), dtype=np.int32)
    error = 0.0
    for part in ordered.parts(len(flat)):
        near = np.ldexp(flat[part].astype(np.float64), -exponent)
        labels[part] = np.searchsorted(edges, near)  # side="left": the middle belongs to the lower one
        squares = (near - book[labels[part]]) ** 2
        error += float(squares.sum() if weights is None else (squares * weights[part]).sum())
    shaped = torch.from_numpy(labels).reshape(values.shape)
    with np.errstate(over="ignore"):  # the square of 1e200 is infinite
        error = float(np.ldexp(error, 2 * exponent))
    return Clustering(torch.from_numpy(np.ldexp(book, exponent)), shaped, error, *found[1:])


def fit(
    values: np.ndarray,
    clusters: int,
    init: str,
    importance: np.ndarray | None = None,
    generator: torch.Generator | None = None,
    iterations: int = ITERATIONS,
) -> tuple[np.ndarray, int, int]:
    """The centroids that `kmeans` finds, with its iterations and relocations, for values of magnitude 1 or
    less, which are in another order afterwards.
    """
    line = Line.of(values, importance, clusters)
    if line.distinct <= clusters:
        return line.values, 0, 0
    return _lloyd(line, STARTS[init](line, clusters, generator), iterations)


def check(clusters: int, init: str, generator: torch.Generator | None) -> None:
    """Raise ValueError where a clustering is asked for that there is not."""
    if isinstance(clusters, bool) or not isinstance(clusters, Integral) or clusters < 1:
        raise ValueError(f"clusters must be a whole number, 1 or more, but is {clusters!r}")
    if init not in STARTS:
        raise ValueError(f"unknown start init={init!r}: choose one of {', '.join(STARTS)}")
    if init in RANDOM and generator is None:
        raise ValueError(f"init={init!r} draws at random: give generator=torch.Generator().manual_seed(0)")


def _lloyd(line: Line, centroids: np.ndarray, iterations: int) -> tuple[np.ndarray, int, int]:
    """Move centroids to the means of their points until these stay: with iterations and relocations made."""
    relocated, before = 0, None
    for done in range(iterations):
        cuts = line.cuts(centroids)
        empty = np.flatnonzero(cuts[1:] == cuts[:-1])
        if len(empty):
            centroids = _relocated(line, centroids, cuts, empty)
            relocated += len(empty)
            continue
        if before is not None and np.array_equal(cuts, before):
            return centroids, done, relocated
        centroids, before = line.means(cuts), cuts
    return centroids, iterations, relocated


def _relocated(line: Line, centroids: np.ndarray, cuts: np.ndarray, empty: np.ndarray) -> np.ndarray:
    """Each centroid without points set on one of the points that are farthest from theirs.

    In a cluster the farthest point is its first or its last. The distance counts, not the importance.
    """
    full = np.flatnonzero(cuts[1:] > cuts[:-1])
    ends = np.concatenate([line.points[cuts[full]], line.points[cuts[full + 1] - 1]]).astype(np.float64)
    distances = np.abs(ends - np.tile(centroids[full], 2))
    ends, distances = ends[distances > 0], distances[distances > 0]
    farthest = np.unique(ends[np.argsort(-distances, kind="stable")[: len(empty)]])
    if len(farthest) < len(empty):  # few clusters have points: any values that are not centroids yet
        others = np.setdiff1d(line.values, np.concatenate([centroids[full], farthest]))
        farthest = np.concatenate([farthest, others[: len(empty) - len(farthest)]])
    return np.sort(np.concatenate([centroids[full], farthest]))


def _forgy(line: Line, clusters: int, generator: torch.Generator | None) -> np.ndarray:
    drawn = line.points[torch.randperm(len(line.points), generator=generator).numpy()].astype(np.float64)
    _, first = np.unique(drawn, return_index=True)  # of each value, when it was drawn
    return np.sort(drawn[np.sort(first)[:clusters]])


def _density(line: Line, clusters: int, generator: torch.Generator | None) -> np.ndarray:
    return line.points[line.at_mass((np.arange(clusters) + 0.5) / clusters)].astype(np.float64)


def _linear(line: Line, clusters: int, generator: torch.Generator | None) -> np.ndarray:
    return np.linspace(float(line.points[0]), float(line.points[-1]), clusters)


def _plus_plus(line: Line, clusters: int, generator: torch.Generator | None) -> np.ndarray:
    """k-means++: each next centroid is a point, drawn by its importance times its squared distance.

    Source: Arthur and Vassilvitskii 2007, Section 2.2.
    """
    mass, points = line.mass(), line.points.astype(np.float64)
    chosen: list[float] = []
    worth = mass.copy()
    nearest = np.full(len(points), np.inf)
    for _ in range(clusters):
        running = np.cumsum(worth)
        drawn = torch.rand((), generator=generator, dtype=torch.float64).item() * running[-1]
        chosen.append(points[min(np.searchsorted(running, drawn, side="right"), len(mass) - 1)])
        np.minimum(nearest, (points - chosen[-1]) ** 2, out=nearest)
        worth = mass * nearest
    return np.sort(np.array(chosen))


def _optimal(line: Line, clusters: int, generator: torch.Generator | None) -> np.ndarray:
    return line.means(optimal_cuts(line, clusters))


STARTS: dict[str, Callable[[Line, int, torch.Generator | None], np.ndarray]] = {
    "forgy": _forgy, "density": _density, "linear": _linear, "k-means++": _plus_plus, "optimal": _optimal
}  # fmt: skip
RANDOM = ("forgy", "k-means++")


def _exponent(flat: np.ndarray, name: str) -> int:
    """The e for which all magnitudes are below 2^e. Raises ValueError unless all are finite."""
    peak = ordered.largest(flat)
    if not np.isfinite(peak):
        raise ValueError(f"{name} hold NaN or infinity")
    return int(np.frexp(peak)[1])


def _importance(importance: Tensor, values: Tensor) -> np.ndarray:
    if importance.shape != values.shape:
        raise ValueError(
            f"importance is shaped {tuple(importance.shape)}, but the values {tuple(values.shape)}"
        )
    weights = ordered.flat(importance).astype(np.float64)
    _exponent(weights, "importance")
    if weights.min() < 0 or weights.max() == 0:
        raise ValueError("importance must be 0 or more, and not 0 everywhere")
    if weights.max() > RANGE * weights[weights > 0].min():
        raise ValueError(f"importance ranges over more than a factor of {RANGE:g}: raise the least ones")
    return weights
