"""The directory of an `.admm` file: how each of its tensors is stored."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from . import wire
from .network import Shapes
from .positions import CORNER
from .rangecoder import CodecError
from .steps import FARTHEST, LARGEST, MOST_DIGITS, Step

RAW, SPARSE, TIED, CODEBOOK, STEPS = range(5)  # kinds; a reader refuses those it does not know
HAS_DTYPE = 128
DTYPES = (
    torch.float32, torch.float16, torch.bfloat16, torch.float64,
    torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.bool,
)  # fmt: skip
MOST_TENSORS, MOST_DIMENSIONS, MOST_ELEMENTS = 1 << 20, 64, 1 << 40
MOST_VALUES = 1 << 12  # in a codebook


@dataclass(frozen=True)
class Entry:
    """One tensor: whole (RAW), its kept elements (SPARSE), a reference to another (TIED), or its kept
    elements as labels of a codebook of `book` values (CODEBOOK) or as multiples of a `step` (STEPS).
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    kind: int = RAW
    keep: int = 0
    layout: int = 0
    tied: int = 0
    book: int = 0
    step: Step | None = None

    @property
    def numel(self) -> int:
        """How many elements the tensor has."""
        return math.prod(self.shape)

    @property
    def matrix(self) -> tuple[int, int]:
        """(outputs, inputs), the form in which positions are coded; a vector is one row."""
        rows = self.shape[0] if len(self.shape) > 1 else 1
        return rows, self.numel // max(rows, 1)

    @property
    def inverted(self) -> bool:
        """Whether the positions are those of the elements that are not kept."""
        return 2 * self.keep > self.numel

    @property
    def marked(self) -> int:
        """How many positions are coded."""
        return self.numel - self.keep if self.inverted else self.keep

    @property
    def stored_positions(self) -> bool:
        """Whether the file tells which elements are kept; else all are, zeros among them."""
        return self.kind in (SPARSE, CODEBOOK, STEPS)

    @property
    def stored_as(self) -> str:
        """How its values stand in the file, in a few words."""
        if self.kind == TIED:
            return "shared with an earlier one"
        if self.kind == CODEBOOK:
            return f"codebook of {self.book}"
        if self.kind == STEPS:
            return f"multiples of a step, up to {self.step.largest}"
        return f"{8 * self.dtype.itemsize} bits each"

    @property
    def stored(self) -> int:
        """How many bytes stand among the values."""
        count = {RAW: self.numel, SPARSE: self.keep, TIED: 0, CODEBOOK: self.book, STEPS: 0}[self.kind]
        return count * self.dtype.itemsize


def write_entry(entry: Entry, spelled: bool) -> bytes:
    """The bytes of an entry, with name and shape where no architecture gives them."""
    data = b""
    if spelled:
        sizes = (len(entry.shape), *entry.shape)
        data = wire.string(entry.name) + b"".join(map(wire.number, sizes))
    tag, dtype = entry.kind | entry.layout << 3, DTYPES.index(entry.dtype)
    data += bytes([tag | HAS_DTYPE, dtype] if dtype else [tag])
    if entry.kind == RAW:
        return data
    if entry.kind == TIED:
        return data + wire.number(entry.tied)
    data += wire.number(entry.keep)
    if entry.kind == CODEBOOK:
        return data + wire.number(entry.book)
    return data + (write_step(entry.step) if entry.kind == STEPS else b"")


def write_step(step: Step) -> bytes:
    """Mantissa, exponent (twice its size, and one less where it is negative) and largest multiple."""
    exponent = 2 * step.exponent if step.exponent >= 0 else -2 * step.exponent - 1
    return b"".join(map(wire.number, (step.mantissa, exponent, step.largest)))


def _read_step(reader: wire.Reader) -> Step:
    mantissa = reader.number(1 << MOST_DIGITS, "step")
    exponent = reader.number(2 * FARTHEST, "exponent of a step")
    largest = reader.number(LARGEST, "largest multiple of a step")
    if mantissa % 2 == 0 or largest == 0:
        raise CodecError("a step of the file is zero or not in lowest terms: the file is damaged")
    return Step(mantissa, exponent // 2 if exponent % 2 == 0 else -(exponent + 1) // 2, largest)


def read_entries(reader: wire.Reader, shapes: Shapes | None, version: int) -> list[Entry]:
    """All entries, with the names and shapes given or else the file's; CodecError if unsound, or of a kind
    or layout that the format's version has not.
    """
    entries: list[Entry] = []
    for name, shape in _read_names(reader) if shapes is None else shapes.items():
        entry = _read_entry(reader, name, shape, entries)
        if version == 1 and (entry.kind == STEPS or entry.layout & CORNER):
            raise CodecError(f"{name[:80]!r} is stored in a way that version 1 of the format has not")
        entries.append(entry)
    return entries


def _read_names(reader: wire.Reader) -> Iterator[tuple[str, tuple[int, ...]]]:
    last = ""
    for index in range(reader.number(MOST_TENSORS, "number of tensors")):
        name = reader.string("tensor name")
        if index and name <= last:
            raise CodecError("the file's tensors are not in ascending order: the file is damaged")
        last = name
        dimensions = reader.number(MOST_DIMENSIONS, "number of dimensions")
        shape = tuple(reader.number(MOST_ELEMENTS, "tensor shape") for _ in range(dimensions))
        if math.prod(shape) > MOST_ELEMENTS:
            raise CodecError(f"{name[:80]!r} has more than {MOST_ELEMENTS} elements")
        yield name, shape


def _read_entry(reader: wire.Reader, name: str, shape: tuple[int, ...], earlier: list[Entry]) -> Entry:
    tag = reader.take(1, "directory")[0]
    code = reader.take(1, "directory")[0] if tag & HAS_DTYPE else 0
    kind, layout = tag & 7, (tag & ~HAS_DTYPE) >> 3
    marked = kind in (SPARSE, CODEBOOK, STEPS)
    if kind > STEPS or (layout and not marked) or code >= len(DTYPES):
        raise CodecError(f"{name[:80]!r} is stored in a way that this version does not know")
    entry = Entry(name, shape, DTYPES[code], kind, layout=layout)
    if marked:
        keep = reader.number(entry.numel, f"number of nonzeros in {name[:80]!r}")
        entry = replace(entry, keep=keep)
    if kind == CODEBOOK:
        book = reader.number(min(entry.keep, MOST_VALUES), f"number of values in {name[:80]!r}")
        if book == 0:
            raise CodecError(f"{name[:80]!r} has an empty codebook")
        return replace(entry, book=book)
    if kind == STEPS:
        if not entry.dtype.is_floating_point:
            raise CodecError(f"{name[:80]!r} has steps, but is {entry.dtype}")
        return replace(entry, step=_read_step(reader))
    if kind == TIED:
        entry = replace(entry, tied=reader.number(MOST_TENSORS, "index of a tied tensor"))
        owner = earlier[entry.tied] if entry.tied < len(earlier) else entry
        if owner.kind == TIED or (owner.shape, owner.dtype) != (shape, entry.dtype):
            raise CodecError(f"{name[:80]!r} is tied to a tensor that it cannot share")
    return entry
