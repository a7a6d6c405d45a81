"""Where the nonzeros of a matrix are: the gaps between them, range coded, without the dead lines.

A gap's bit length is learned as it is coded, from a start that suits a uniformly random mask: a
large mask without structure costs within a percent of log2 C(n, k), one with structure less.
"""

import math
from itertools import repeat

import numpy as np

from .rangecoder import GAIN, Adaptive, CodecError, Coder, weighted

LIVE_ROWS, LIVE_COLUMNS, BY_COLUMN, CORNER = 1, 2, 4, 8  # a layout is a sum of these
LAYOUTS = 16

ONE = 1 << 32  # probabilities below are integers in units of 1 / ONE
PRIOR = 16 * GAIN  # how much the counts say before the first occurrence


def code_positions(
    coder: Coder,
    shape: tuple[int, int],
    keep: int,
    layout: int,
    positions: np.ndarray | None = None,
) -> np.ndarray:
    """Which `keep` cells of a matrix are set: row-major indices, ascending, written or read.

    The layout says what goes first: CORNER, how many of the first rows and columns hold all that is set,
    as in a network whose live units come first; LIVE_ROWS and LIVE_COLUMNS, a bit per line, which tells
    whether anything is set there (dead lines then cost nothing more); and BY_COLUMN, the order of the gaps.
    Time is linear in rows + columns + keep. Raises CodecError for a stream that leaves the matrix.
    """
    if keep == 0:
        return np.empty(0, dtype=np.int64)
    row, column = (None, None) if positions is None else np.divmod(positions, shape[1])
    height = _code_size(coder, shape[0], row) if layout & CORNER else shape[0]
    width = _code_size(coder, shape[1], column) if layout & CORNER else shape[1]
    rows = _code_live(coder, height, row) if layout & LIVE_ROWS else np.arange(height)
    columns = _code_live(coder, width, column) if layout & LIVE_COLUMNS else np.arange(width)
    if keep > rows.size * columns.size:
        raise CodecError(f"{keep} positions do not fit in {rows.size} x {columns.size} live cells")
    order = None if positions is None else _order(row, column, rows, columns, layout)
    order = _code_gaps(coder, rows.size * columns.size, keep, order)
    if layout & BY_COLUMN:
        column, row = np.divmod(order, rows.size)
    else:
        row, column = np.divmod(order, columns.size)
    return np.sort(rows[row] * shape[1] + columns[column])


def best_layout(shape: tuple[int, int], positions: np.ndarray) -> tuple[int, float]:
    """The layout that needs the fewest bits by an estimate, and that. A corner is taken where it would save
    bits if the positions were random.
    """
    if len(positions) == 0:
        return 0, 0.0
    row, column = np.divmod(positions, shape[1])
    corner = int(row.max()) + 1, int(column.max()) + 1
    saved = len(positions) * math.log2(math.prod(shape) / math.prod(corner))  # by fewer cells, at random
    start = CORNER if saved > _corner_bits(shape) else 0
    choices = range(start, start + CORNER) if min(shape) > 1 else [start]
    # To say that all lines live saves nothing.
    height, width = corner if start else shape
    useless = LIVE_ROWS * (len(np.unique(row)) == height) | LIVE_COLUMNS * (len(np.unique(column)) == width)
    choices = [layout for layout in choices if not layout & useless]
    estimates = {layout: _estimate(shape, positions, layout) for layout in choices}
    layout = min(estimates, key=estimates.get)
    return layout, estimates[layout]


def _order(
    row: np.ndarray, column: np.ndarray, rows: np.ndarray, columns: np.ndarray, layout: int
) -> np.ndarray:
    """Indices among the live cells, in the order of coding."""
    row, column = np.searchsorted(rows, row), np.searchsorted(columns, column)
    if layout & BY_COLUMN:
        return np.sort(column * rows.size + row)
    return row * columns.size + column


def _corner_bits(shape: tuple[int, int]) -> int:
    """What `_code_size` takes for rows and columns."""
    return sum((size - 1).bit_length() for size in shape)


def _code_size(coder: Coder, size: int, used: np.ndarray | None) -> int:
    """How many of the first of `size` lines hold all that is used: 1..size, none likelier than another."""
    known, found = None if used is None else int(used.max()), 0
    for place in reversed(range((size - 1).bit_length())):
        found |= coder.symbol(weighted([1, 1]), None if known is None else known >> place & 1) << place
    if found >= size:
        raise CodecError("the positions leave their tensor: the file is damaged")
    return found + 1


def _code_live(coder: Coder, size: int, used: np.ndarray | None) -> np.ndarray:
    """The lines that hold anything: an adaptive bit per line, knowing the line before."""
    live = np.zeros(size, dtype=np.int64)
    live[used if used is not None else slice(0)] = 1
    after = Adaptive([GAIN // 2, GAIN // 2]), Adaptive([GAIN // 2, GAIN // 2])
    bit = 1
    for line, known in enumerate(live.tolist()):
        live[line] = bit = after[bit].code(coder, known)
    return np.flatnonzero(live)


def _code_gaps(coder: Coder, cells: int, keep: int, order: np.ndarray | None) -> np.ndarray:
    """Ascending indices below `cells`, as gaps: bit length, then the bits below the leading one.

    The bit length is learned, given whether the last one was short, typical or long; so is the bit
    after the leading one, given the length. These start, and the lower bits stay, at what a
    uniformly random mask gives: P(gap > g) = q^g with q = 1 - keep / cells, where bit j is 1 with
    odds q^(2^j), whatever the other bits are.
    """
    lengths = max(2, cells.bit_length())
    odds = _odds(cells, keep, lengths)
    prior = _length_prior(odds)
    typical = prior.index(max(prior))
    by_length = [Adaptive(prior) for _ in range(3)]
    by_half = [Adaptive([PRIOR * ONE // (ONE + o) + 1, PRIOR * o // (ONE + o) + 1]) for o in odds]

    gaps = None if order is None else np.diff(order, prepend=-1)
    length, half = np.empty(keep, dtype=np.int64), np.zeros(keep, dtype=np.int64)
    known = repeat((None, None)) if gaps is None else zip(*_leading(gaps), strict=True)
    last = typical
    for index, (known_length, known_half) in zip(range(keep), known, strict=False):
        length[index] = last = by_length[_context(last, typical)].code(coder, known_length)
        if last:
            half[index] = by_half[last - 1].code(coder, known_half)

    read = (1 << length) + np.where(length > 0, half << np.maximum(length - 1, 0), 0)
    for level in range(lengths - 3, -1, -1):
        longer = np.flatnonzero(length >= level + 2)
        if longer.size:
            bits = None if gaps is None else gaps[longer] >> level & 1
            bits = coder.symbols(weighted([ONE, odds[level]]), longer.size, bits)
            read[longer] += bits.astype(np.int64) << level
    order = np.cumsum(read) - 1
    if order[-1] >= cells:
        raise CodecError("the positions leave their tensor: the file is damaged")
    return order


def _context(last: int | np.ndarray, typical: int) -> int | np.ndarray:
    """0, 1, 2 after a short, a typical, a long gap."""
    return 0 + (last >= typical - 1) + (last > typical)


def _odds(cells: int, keep: int, number: int) -> list[int]:
    """q^(2^j) for j < number, at least 1 / ONE: the odds of bit j of a gap being 1."""
    power = (cells - keep) * ONE // cells
    odds = []
    for _ in range(number):
        odds.append(max(power, 1))
        power = power * power // ONE
    return odds


def _length_prior(odds: list[int]) -> list[int]:
    """Counts for gaps of 2^c..2^(c+1)-1: as q^(2^c - 1) - q^(2^(c+1) - 1), at least 1."""
    beyond, counts = ONE, []
    for power in odds:
        further = beyond * power // ONE
        counts.append(max(1, (beyond - further) * PRIOR // ONE))
        beyond = further
    return counts


def _leading(gaps: np.ndarray) -> tuple[list[int], list[int]]:
    """Per gap the place of its leading one, and the bit after it (0 where there is none)."""
    length = np.frexp(gaps.astype(np.float64))[1].astype(np.int64) - 1
    return length.tolist(), (gaps >> np.maximum(length - 1, 0) & (length > 0)).tolist()


def _estimate(shape: tuple[int, int], positions: np.ndarray, layout: int) -> float:
    """About how many bits a layout needs, from entropies: exact enough to choose, and fast."""
    row, column = np.divmod(positions, shape[1])
    bits = 0.0
    if layout & CORNER:
        bits += _corner_bits(shape)
        shape = int(row.max()) + 1, int(column.max()) + 1
    rows = np.unique(row) if layout & LIVE_ROWS else np.arange(shape[0])
    columns = np.unique(column) if layout & LIVE_COLUMNS else np.arange(shape[1])
    order = _order(row, column, rows, columns, layout)
    length, half = (np.array(part) for part in _leading(np.diff(order, prepend=-1)))
    context = _context(length[:-1], int(np.bincount(length).argmax()))
    bits += float((length - 1).clip(0).sum())
    bits += _entropy(context, length[1:]) + _entropy(length, half)
    for lines, size, coded in (
        (rows, shape[0], layout & LIVE_ROWS),
        (columns, shape[1], layout & LIVE_COLUMNS),
    ):
        if coded:
            live = np.bincount(lines, minlength=size)
            bits += _entropy(live[:-1], live[1:]) + 2 * math.log2(size)
    return bits


def _entropy(context: np.ndarray, symbol: np.ndarray) -> float:
    """Bits for all symbols, each given the context it comes with."""
    width = int(symbol.max(initial=0)) + 1
    pairs = np.bincount(context * width + symbol, minlength=width)
    table = np.pad(pairs, (0, -len(pairs) % width)).reshape(-1, width)
    shares = table[table > 0] / np.repeat(table.sum(1), (table > 0).sum(1))
    return float(-(table[table > 0] * np.log2(shares)).sum())
