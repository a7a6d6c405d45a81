"""How one tensor is stored: whole, or its kept elements as they are, as labels, or as multiples of a step."""

import warnings
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from . import wire
from .entries import CODEBOOK, DTYPES, MOST_VALUES, RAW, SPARSE, STEPS, TIED, Entry, write_step
from .labels import code_labels, code_multiples, lengths
from .positions import best_layout, code_positions
from .rangecoder import CodecError, Decoder, Encoder
from .steps import find_step, multiples_of

MANY = 100
NONE, NO_BYTES = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.uint8)


@dataclass(frozen=True, eq=False)
class Plan:
    """A tensor's entry; which elements are kept; their labels or multiples; the bytes among the values."""

    entry: Entry
    kept: np.ndarray
    labels: np.ndarray = field(default_factory=NONE.copy)
    stored: np.ndarray = field(default_factory=NO_BYTES.copy)


def plan(name: str, tensor: Tensor, tied: int | None) -> Plan:
    """How to store a tensor: as a reference to the entry `tied`, or whichever is smallest by an estimate.

    Raises CodecError for a dtype that a file cannot keep. Warns of a tensor with many negative zeros, which
    cost as much as any other value.
    """
    patterns = _patterns(name, tensor)
    kept = patterns != 0
    keep = int(kept.sum())
    _warn_of_negative_zeros(name, keep - int(tensor.count_nonzero()))
    entry = Entry(name, tuple(tensor.shape), tensor.dtype)
    if tied is not None:
        return Plan(replace(entry, kind=TIED, tied=tied), kept)
    sparse = replace(entry, kind=SPARSE, keep=keep)
    layout, positions = 0, 0.0
    if keep < kept.size:
        layout, positions = best_layout(entry.matrix, np.flatnonzero(kept ^ sparse.inverted))
    sparse = replace(sparse, layout=layout)
    plans = {8 * entry.stored: Plan(entry, kept, stored=patterns.view(np.uint8))}
    positions += 8 * len(wire.number(keep))
    plans[positions + 8 * sparse.stored] = Plan(sparse, kept, stored=patterns[kept].view(np.uint8))
    for planned, bits in _few_values(sparse, kept, patterns[kept]):
        plans[positions + bits] = planned
    return plans[min(plans)]


def write(coder: Encoder, planned: Plan) -> float:
    """Write positions, and labels or multiples, to the stream; how many bits of it the positions took."""
    entry, start = planned.entry, coder.spent()
    if entry.kind in (RAW, TIED):
        return 0.0
    marked = np.flatnonzero(planned.kept ^ entry.inverted)
    code_positions(coder, entry.matrix, entry.marked, entry.layout, marked)
    positions = coder.spent() - start
    if entry.kind == CODEBOOK:
        code_labels(coder, entry.book, entry.keep, planned.labels)
    elif entry.kind == STEPS:
        code_multiples(coder, entry.step.largest, entry.keep, planned.labels)
    return positions


def read(decoder: Decoder, entry: Entry, stored: bytes) -> Tensor:
    """The tensor of an entry other than TIED. CodecError where stream or values are damaged."""
    kept = np.full(entry.numel, entry.kind == RAW or entry.inverted)
    if entry.kind != RAW:
        kept[code_positions(decoder, entry.matrix, entry.marked, entry.layout)] = not entry.inverted
    patterns = np.zeros((entry.numel, entry.dtype.itemsize), dtype=np.uint8)
    if entry.kind == STEPS:
        multiples = code_multiples(decoder, entry.step.largest, entry.keep)
        values = entry.step.values(multiples, entry.dtype)
        patterns[kept] = values.view(torch.uint8).numpy().reshape(-1, entry.dtype.itemsize)
    else:
        rows = np.frombuffer(stored, dtype=np.uint8).reshape(-1, entry.dtype.itemsize)
        patterns[kept] = rows[code_labels(decoder, entry.book, entry.keep)] if entry.book else rows
    if entry.dtype == torch.bool and patterns.max(initial=0) > 1:
        raise CodecError(f"{entry.name[:80]!r} holds a truth value other than 0 and 1")
    return torch.from_numpy(patterns.reshape(-1)).view(entry.dtype).reshape(entry.shape)


def _patterns(name: str, tensor: Tensor) -> np.ndarray:
    """The bits of each element of a tensor, as one whole number; row-major. No copy where none is needed."""
    if tensor.dtype not in DTYPES:
        raise CodecError(f"{name} is of {tensor.dtype}, which a file cannot keep")
    kind = f"<u{tensor.dtype.itemsize}"
    row = tensor.detach().reshape(-1).cpu().contiguous()
    return row.view(torch.uint8).numpy().view(kind) if len(row) else np.empty(0, dtype=kind)


def _warn_of_negative_zeros(name: str, number: int) -> None:
    if number >= MANY:
        warnings.warn(
            f"{name} has {number} negative zeros, each kept like a nonzero: pruning by "
            "multiplication makes them, and adding 0.0 to the weight makes them plain zeros",
            stacklevel=5,
        )


def _few_values(sparse: Entry, kept: np.ndarray, patterns: np.ndarray) -> list[tuple[Plan, float]]:
    """The kept elements by codebook, and as multiples of a step, where either can be, with about how many
    bits their values take.
    """
    book, labels = _book(patterns)
    if not len(book):
        return []
    keep = len(patterns)
    # Learning a frequency costs about half of log2 n bits.
    entropy = keep * _entropy(np.bincount(labels)) + len(book) / 2 * np.log2(keep + 2)
    entry = replace(sparse, kind=CODEBOOK, book=len(book))
    plans = [(Plan(entry, kept, labels, book.view(np.uint8)), entropy + 8 * (entry.stored + 2))]
    values = torch.from_numpy(book.view(np.uint8).copy()).view(sparse.dtype)
    step = find_step(values) if sparse.dtype.is_floating_point else None
    if step is not None:
        multiples = multiples_of(step, values)[labels]
        entry = replace(sparse, kind=STEPS, step=step)
        plans.append((Plan(entry, kept, multiples), _estimate(multiples) + 8 * len(write_step(step))))
    return plans


def _book(patterns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different patterns, ascending, and the place of each; none where they are too many."""
    few = np.unique(patterns[: 4 * MOST_VALUES])  # a look that spares large tensors the sorting
    book = few if len(few) > MOST_VALUES else np.unique(patterns)
    if len(book) > MOST_VALUES:
        return np.empty(0, dtype=patterns.dtype), NONE
    return book, np.searchsorted(book, patterns)


def _entropy(counts: np.ndarray) -> float:
    """Bits a symbol."""
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum())


def _estimate(multiples: np.ndarray) -> float:
    """About how many bits `code_multiples` takes: signs, lengths and the bits after the leading one."""
    numbers = np.abs(multiples) - 1
    length = lengths(numbers)
    counts = [np.bincount(multiples > 0), np.bincount(length)]
    counts += [np.bincount(numbers[length == n] >> n - 2 & 1) for n in range(2, length.max() + 1)]
    learned = sum(each.sum() * _entropy(each) for each in counts if each.sum())
    frequencies = sum(max(len(each) - 1, 0) for each in counts)
    return learned + (length - 2).clip(0).sum() + frequencies / 2 * np.log2(len(multiples) + 2)
