r"""The best scale of a set of levels: which step, exponent or magnitude is nearest to given weights.

Each function looks at magnitudes m_i = |w_i| > 0 alone, ascending, since all these sets are symmetric, and
returns the parameter of the set with the least squared error sum_i (m_i - level(m_i))^2. Zeros are left out
by the caller. All of them count in double precision on the CPU, and take little memory. The best_* raise
ValueError where magnitudes do not ascend.
"""

import math

import numpy as np

from .ordered import PrefixSums, check_ascending, mean, parts, runs, up_to

GRID = 1024  # steps that are tried first, or 32 per level where these are more
EXACT = 1 << 17  # up to so many levels at all changes of a label, all are tried
ROUNDS = 100  # of improvement; a handful is usual


def best_step(m: np.ndarray, count: int) -> float:
    r"""The q > 0 that minimizes sum_i min_{1 <= l <= count} (m_i - l q)^2.

    Between two changes of a label the best step is sum l m / sum l^2. Few weights and levels: all such
    stretches are tried, which finds the optimum; many: the best of `GRID` steps are improved until no label
    changes. Source: the interval search of 1811.01907, Section 3.

    >>> al.levels.best_step(np.array([0.5, 0.5, 2.5]), count=2)  # (0.5 + 0.5 + 2 * 2.5) / (1 + 1 + 4)
    1.0
    """
    check_ascending(m)
    if count == 1:
        return mean(m)
    sums = PrefixSums(m)
    halves = np.arange(1, count) + 0.5
    if len(m) * len(halves) * count <= EXACT:
        changes = np.unique(np.divide.outer(m.astype(np.float64), halves))
        tries = np.concatenate([[changes[0] / 2], (changes[1:] + changes[:-1]) / 2, [2 * changes[-1]]])
        steps, errors = _improved(m, sums, tries, count)
        return float(steps[errors.argmin()])
    tries = np.geomspace(mean(m) / (2 * count), float(m[-1]), max(GRID, 32 * count))
    steps, errors = _improved(m, sums, tries, count)
    steps = steps[np.argsort(errors)[:16]]
    for _ in range(ROUNDS):
        better, errors = _improved(m, sums, steps, count)
        if np.allclose(better, steps, rtol=1e-12, atol=0):
            break
        steps = better
    return float(better[errors.argmin()])


def _improved(
    m: np.ndarray, sums: PrefixSums, steps: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """For each step, the best one with its labels, and the error of that, less the constant sum m^2."""
    levels = np.arange(1, count + 1)
    edges = up_to(m, np.multiply.outer(steps, levels[:-1] + 0.5))
    edges = np.pad(edges, ((0, 0), (1, 1)), constant_values=((0, 0), (0, len(m))))
    numbers, totals = np.diff(edges), np.diff(sums.at(edges)[0])
    cross, square = totals @ levels, numbers @ levels**2
    return cross / square, -(cross**2) / square


def are_multiples(m: np.ndarray, count: int, digits: int | None = None) -> bool:
    """Whether all are whole multiples, up to `count`, of one number, of so many significant bits at most;
    in exact arithmetic.

    >>> [al.levels.are_multiples(np.array([0.5, 1.5]), count) for count in (3, 2)]
    [True, False]
    """
    distinct, starts = runs(m, count)
    if distinct > count:
        return False
    ratios = [each.as_integer_ratio() for each in m[starts].tolist()]
    common = max(denominator for _, denominator in ratios)  # all are powers of two
    whole = [numerator * (common // denominator) for numerator, denominator in ratios]
    greatest = math.gcd(*whole)  # the number is this, or a whole fraction of it
    fractions = range(1, count // (whole[-1] // greatest) + 1)
    return any(digits is None or _digits(greatest, each) <= digits for each in fractions)


def _digits(whole: int, part: int) -> float:
    """The significant bits of whole / part; infinitely many where it is no sum of powers of two."""
    part //= part & -part
    if whole % part:
        return math.inf
    whole //= part
    return (whole // (whole & -whole)).bit_length()


def best_exponent(m: np.ndarray, count: int, most: float = math.inf) -> int:
    r"""The integer e, 2^e <= most, for which the levels 2^e, ..., 2^(e-count+1) have the least squared error.

    Beyond the exponents of the largest and of the least weight the error only grows, so that all of them are
    tried. Source: the power-of-two levels of 1811.01907, Section 3.

    >>> al.levels.best_exponent(np.array([0.9, 2.3, 3.1]), count=2)  # levels 2 and 1
    1
    """
    check_ascending(m)
    distinct, starts = runs(m, count)
    fractions, exponents = np.frexp(m[starts]) if distinct <= count else ((), ())
    if len(fractions) and (fractions == 0.5).all() and exponents[-1] - exponents[0] < count:
        return int(exponents[-1]) - 1  # in the set: beside the largest, errors in the least would be lost
    sums = PrefixSums(m)
    first, last = math.floor(math.log2(m[0])), math.ceil(math.log2(m[-1])) + count
    last = min(last, math.frexp(most)[1] - 1) if math.isfinite(most) else last
    errors = {}
    for top in range(min(first, last), last + 1):
        levels = np.exp2(np.arange(top - count + 1, top + 1, dtype=float))
        edges = np.concatenate([[0], up_to(m, (levels[1:] + levels[:-1]) / 2), [len(m)]])
        errors[top] = (levels**2 * np.diff(edges) - 2 * levels * np.diff(sums.at(edges)[0])).sum()
    return min(errors, key=errors.get)


def best_ternary(m: np.ndarray) -> tuple[float, int]:
    r"""The a and k that minimize sum_{i kept} (m_i - a)^2 + sum_{others} m_i^2, the k largest kept.

    For each k, a is their mean and the gain over zero k a^2; the largest gain of all k is the optimum (the
    fewest, where several are). Source: the ternary weights of 1605.04711, Eq. (4), solved exactly.

    >>> al.levels.best_ternary(np.array([0.1, 2, 2.5, 3]))
    (2.5, 3)
    """
    check_ascending(m)
    descending, total = m[::-1], 0.0
    best, gain, a = 0, -math.inf, 0.0
    for part in parts(len(m)):
        sums = descending[part].astype(np.float64)
        sums[0] += total
        sums = np.cumsum(sums)
        kept = np.arange(part.start, part.stop) + 1
        gains = sums**2 / kept
        here = int(gains.argmax())
        if gains[here] > gain:
            best, gain, a = int(kept[here]), gains[here], float(sums[here] / kept[here])
        total = sums[-1]
    return a, best
