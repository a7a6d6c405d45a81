"""How the penalty parameter rho moves from one ADMM iteration to the next."""

from collections.abc import Callable

Schedule = Callable[[int], float]


def geometric(start: float, end: float, updates: int) -> Schedule:
    """A schedule that multiplies rho by `start` at first and by `end` after `updates` updates.

    factor(t) = start (end / start)^min(t / updates, 1). Raises ValueError unless start, end > 0 and
    updates >= 1. Source: rho grown by a constant factor per update, as in the code released with 1903.09769.

    >>> factor = al.geometric(1, 10, updates=2)
    >>> [round(factor(update), 2) for update in range(4)]
    [1.0, 3.16, 10.0, 10.0]
    """
    if not (start > 0 and end > 0 and updates >= 1):
        raise ValueError(f"geometric needs start, end > 0 and updates >= 1, not {start}, {end}, {updates}")
    return lambda update: start * (end / start) ** min(update / updates, 1)


def balancing(primal: float, dual: float, mu: float) -> float:
    """Residual balancing, the factor on rho: 2 where primal > mu dual, 1/2 where dual > mu primal, else 1.

    Source: Boyd et al. 2011, Section 3.4.1, Eq. (3.13).

    >>> [al.schedules.balancing(primal, dual=1.0, mu=10) for primal in (0.05, 1, 20)]
    [0.5, 1.0, 2.0]
    """
    if primal > mu * dual:
        return 2.0
    return 0.5 if dual > mu * primal else 1.0


def check_rho(rho: float) -> float:
    """`rho` as a plain float; raises ValueError where a schedule or balancing left the positive numbers."""
    if not 0 < rho < float("inf"):
        raise ValueError(f"rho must be a positive number, but would become {rho!r}: see what sets it")
    return float(rho)
