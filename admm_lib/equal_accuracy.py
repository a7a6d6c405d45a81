"""Ratios at equal accuracy: how far a way of compressing goes before the network has lost so many points.

An arm is a list of records of one way at several ratios, with the same seeds.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from .records import Interval, interval

Record = dict[str, Any]
Measure = Callable[[dict[str, Any]], float]  # of a run: how many times less it needs than the dense network
Curve = list[tuple[float, float]]  # (ratio, points lost) of one seed, by rising ratio


def weights(run: dict[str, Any]) -> float:
    """weights / nonzero weights."""
    return run["weights"] / run["nonzero_weights"]


def storage(run: dict[str, Any]) -> float:
    """32 bits for each weight of the dense network over the bits of values, positions and codebooks."""
    return 32 * run["weights"] / run["ladder_bits"]["codebooks"]  # the rung with values and positions in it


def file(run: dict[str, Any]) -> float:
    """32 bits for each weight of the dense network over the bits of the whole file, biases and norms too."""
    return 32 * run["weights"] / run["ladder_bits"]["file"]


def curves(arm: Sequence[Record], measure: Measure = weights, from_dense: bool = True) -> dict[int, Curve]:
    """For each seed the points of an arm in the order of their ratios, after the dense network's (1, 0).

    Lost are the run's own dense accuracy minus its own, on test images. Arms of few bits do not begin at the
    dense network: `from_dense=False`. Raises ValueError for records with different seeds or dense networks,
    which make no curve.
    """
    seeds = [[run["seed"] for run in record["runs"]] for record in arm]
    if not arm or any(each != seeds[0] for each in seeds):
        raise ValueError("an arm is one record or more, all with the same seeds")
    found: dict[int, Curve] = {}
    for runs in zip(*(record["runs"] for record in arm), strict=True):
        if len({run["dense_test_accuracy"] for run in runs}) > 1:
            raise ValueError(f"seed {runs[0]['seed']}: the records start from different dense networks")
        points = [(measure(run), run["dense_test_accuracy"] - run["test_accuracy"]) for run in runs]
        found[runs[0]["seed"]] = [(1.0, 0.0)] * from_dense + sorted(points)
    return found


def ratio_at(curve: Curve, lost: float) -> float:
    """The ratio at which a curve first loses so many points: straight lines between points over log ratio.

    NaN where it has lost more at its first point, or less to the end. Raises ValueError unless `lost` > 0.
    """
    if not lost > 0:
        raise ValueError(f"points lost are above 0, not {lost!r}")
    for (before, less), (after, more) in pairwise(curve):
        if less > lost:
            break
        if more >= lost:
            share = (lost - less) / (more - less) if more > less else 1.0
            return math.exp((1 - share) * math.log(before) + share * math.log(after))
    return math.nan


def ratios(
    arm: Sequence[Record], lost: float, measure: Measure = weights, from_dense: bool = True
) -> Interval:
    """The geometric mean over seeds of `ratio_at`, with the t-interval of its logarithm.

    NaN where a seed's curve does not reach it.
    """
    found = curves(arm, measure, from_dense).values()
    return _exponential(interval([math.log(ratio_at(curve, lost)) for curve in found]))


def advantage(
    arm: Sequence[Record], other: Sequence[Record], lost: float, measure: Measure = weights,
    from_dense: bool = True,
) -> Interval:  # fmt: skip
    """How many times less `arm` needs than `other` at equal accuracy, paired by seed.

    r_arm / r_other with the t-interval of its logarithm; NaN where a curve does not reach it. Raises
    ValueError for arms with different seeds.
    """
    ours, theirs = (curves(each, measure, from_dense) for each in (arm, other))
    if ours.keys() != theirs.keys():
        raise ValueError("the arms have different seeds, so that nothing can be paired")
    logs = [math.log(ratio_at(ours[seed], lost) / ratio_at(theirs[seed], lost)) for seed in ours]
    return _exponential(interval(logs))


def _exponential(found: Interval) -> Interval:
    mean, low, high = (math.exp(each) for each in (found.mean, found.low, min(found.high, 700)))
    return Interval(mean, low, high, found.count)
