"""Ratios at equal accuracy: how far a way of pruning goes before the network has lost so many points.

An arm is a list of records of one way at several ratios, with the same seeds.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from .records import Interval, interval

Record = dict[str, Any]
Curve = list[tuple[float, float]]  # (weights / nonzero weights, points lost), of one seed, from ratio 1 on


def curves(arm: Sequence[Record]) -> dict[int, Curve]:
    """For each seed the points of an arm in the order of their ratios, after the dense network's (1, 0).

    Lost are the run's own dense accuracy minus its own, on test images. Raises ValueError for records with
    different seeds or dense networks, which make no curve.
    """
    seeds = [[run["seed"] for run in record["runs"]] for record in arm]
    if not arm or any(each != seeds[0] for each in seeds):
        raise ValueError("an arm is one record or more, all with the same seeds")
    found: dict[int, Curve] = {}
    for runs in zip(*(record["runs"] for record in arm), strict=True):
        if len({run["dense_test_accuracy"] for run in runs}) > 1:
            raise ValueError(f"seed {runs[0]['seed']}: the records start from different dense networks")
        points = [
            (run["weights"] / run["nonzero_weights"], run["dense_test_accuracy"] - run["test_accuracy"])
            for run in runs
        ]
        found[runs[0]["seed"]] = [(1.0, 0.0), *sorted(points)]
    return found


def ratio_at(curve: Curve, lost: float) -> float:
    """The ratio at which a curve first loses so many points: straight lines between points over log ratio.

    NaN where it loses less to the end. Raises ValueError unless `lost` > 0.
    """
    if not lost > 0:
        raise ValueError(f"points lost are above 0, not {lost!r}")
    for (before, less), (after, more) in pairwise(curve):
        if more >= lost:
            share = (lost - less) / (more - less)
            return math.exp((1 - share) * math.log(before) + share * math.log(after))
    return math.nan


def ratios(arm: Sequence[Record], lost: float) -> Interval:
    """The geometric mean over seeds of `ratio_at`, with the t-interval of its logarithm.

    NaN where a seed's curve ends before.
    """
    return _exponential(interval([math.log(ratio_at(curve, lost)) for curve in curves(arm).values()]))


def advantage(arm: Sequence[Record], other: Sequence[Record], lost: float) -> Interval:
    """How many times fewer weights `arm` leaves than `other` at equal accuracy, paired by seed.

    r_arm / r_other with the t-interval of its logarithm; NaN where a curve ends before. Raises ValueError
    for arms with different seeds.
    """
    ours, theirs = curves(arm), curves(other)
    if ours.keys() != theirs.keys():
        raise ValueError("the arms have different seeds, so that nothing can be paired")
    logs = [math.log(ratio_at(ours[seed], lost) / ratio_at(theirs[seed], lost)) for seed in ours]
    return _exponential(interval(logs))


def _exponential(found: Interval) -> Interval:
    mean, low, high = (math.exp(each) for each in (found.mean, found.low, min(found.high, 700)))
    return Interval(mean, low, high, found.count)
