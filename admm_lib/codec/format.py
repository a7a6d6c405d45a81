"""What stands in an `.admm` file: one network, bit-exact, in few bytes, and nothing executable.

Format version 1; an integer is LEB128 unless its width is given:

    3 bytes  magic AD 4D 4D: "ADMM", its first two letters in one byte
    1 byte   format version
    integer  architecture: 0 none; one of network.NUMBERS; or 127, then its identifier as a string.
             Then the number of its arguments and each as a literal, in the constructor's order
    integer  the weights of the dense network it came from; 0: as many as it has itself
    entries  one per tensor, in the order of the constructor's state dict. Without an architecture
             their number, then each by name, in ascending order, preceded by its name and shape
             1 byte   kind | layout << 3 | 128 where a dtype byte follows (else it is float32)
             integer  SPARSE, CODEBOOK: how many elements are kept; TIED: the index of the entry it
                      shares
             integer  CODEBOOK: how many values the codebook has
    stream   entry after entry the positions of a SPARSE or CODEBOOK one, then the labels of a CODEBOOK
             one, range coded
    values   the bits of the kept elements, or of the codebook, entry after entry, little-endian
    4 bytes  CRC-32 of everything before, little-endian

A kept element is one whose bits are not all zero, so -0.0 and NaN survive. The positions are those
of the kept elements, or of the others where these are fewer.
"""

import warnings
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from .. import files
from . import network, wire
from .entries import CODEBOOK, DTYPES, MOST_VALUES, RAW, SPARSE, TIED, Entry, read_entries, write_entry
from .labels import code_labels
from .positions import best_layout, code_positions
from .rangecoder import CodecError, Decoder, Encoder

MAGIC = b"\xadMM"
VERSION = 1
MOST_WEIGHTS = 1 << 48
MANY = 100


def encode(model: nn.Module) -> bytes:
    """The network as the bytes of an `.admm` file; the model, parametrized or not, stays as it is.

    Raises CodecError for a state dict that holds anything but ordinary tensors, and where
    `model.architecture` does not describe the model. Warns of a tensor with many negative zeros,
    which cost as much as any other value.
    """
    return _encode(model)[0]


def sections(model: nn.Module) -> dict[str, int]:
    """The bits that the file spends, which add up to the whole file.

    `values`: the nonzeros of tensors with two or more dimensions, or their labels where these have a
    codebook; `positions`: what tells where these are (of a tensor written whole, its zeros);
    `codebooks`; `biases`: all other tensors; `header`: names, shapes, counts, checksum.
    """
    return _encode(model)[1]


def save(model: nn.Module, path: str | Path) -> None:
    """Write the network to a file, which is replaced as a whole or not at all.

    Raises FileNotFoundError where the folder is missing, CodecError as `encode` does.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"the folder {path.parent} does not exist: create it first")
    data = encode(model)
    with files.replaced(path) as file:
        file.write(data)


def load(path: str | Path, model: nn.Module | None = None) -> nn.Module:
    """The network in a file; see `decode`. Raises CodecError, naming the file and the reason."""
    try:
        return decode(Path(path).read_bytes(), model)
    except CodecError as error:
        raise CodecError(f"{Path(path).name}: {error}") from None


def decode(data: bytes, model: nn.Module | None = None) -> nn.Module:
    """The network that `encode` wrote, plain: built anew, or `model` itself with the file's values.

    A file without a known architecture needs the `model`, with the same names, shapes and dtypes.
    It is changed only when the whole file has been checked. Raises CodecError for a damaged or
    foreign file, a later format version, or a model that does not fit; TypeError for no network.
    """
    if model is not None and not isinstance(model, nn.Module):
        raise TypeError(f"model= takes a network, as in model=MyNetwork(), and not {model!r}")
    reader = wire.Reader(_checked(bytes(memoryview(data))))
    identity = network.read_identity(reader)
    if identity is None and model is None:
        raise CodecError("the file names no architecture: call load(path, model=MyNet())")
    reference = reader.number(MOST_WEIGHTS, "reference weight count")
    entries = read_entries(reader, network.shapes_of(identity) if identity else None)
    if model is not None:
        network.check_fit(model, identity, {e.name: (e.shape, e.dtype) for e in entries})
    tensors = _read_tensors(reader, entries)
    model = network.fill(network.build(identity, "cpu") if model is None else model, tensors)
    if reference:
        model.reference_weights = reference
    return model


def _encode(model: nn.Module) -> tuple[bytes, dict[str, int]]:
    """The file, and its bits by section."""
    identity = network.identity_of(model)
    header = bytearray([*MAGIC, VERSION]) + network.write_identity(identity)
    state = network.in_order(network.plain_state(model), identity)
    tied, places = network.ties(state), {name: place for place, name in enumerate(state)}
    weights = network.weights(model, state)
    own = sum(state[name].numel() for name in weights)
    header += _write_reference(getattr(model, "reference_weights", own), own)
    header += b"" if identity else wire.number(len(state))

    coder, values = Encoder(), bytearray()
    bits = {"values": 0, "positions": 0, "codebooks": 0, "biases": 0}
    streamed = {"values": 0.0, "biases": 0.0}
    for name, tensor in state.items():
        patterns = _patterns(name, tensor)
        kept = patterns.any(1)
        _warn_of_negative_zeros(name, int(kept.sum()) - int(tensor.count_nonzero()))
        entry, labels, book = _plan(name, tensor, patterns, kept, places.get(tied.get(name)))
        header += write_entry(entry, spelled=identity is None)
        start = coder.spent()
        if entry.kind in (SPARSE, CODEBOOK):
            code_positions(
                coder, entry.matrix, entry.marked, entry.layout, np.flatnonzero(kept ^ entry.inverted)
            )
        positioned = coder.spent()
        if entry.kind == CODEBOOK:
            code_labels(coder, entry.book, entry.keep, labels)
        stored = {RAW: patterns, SPARSE: patterns[kept], TIED: patterns[:0], CODEBOOK: book}
        values += stored[entry.kind].tobytes()
        if name not in weights:
            bits["biases"] += 8 * entry.stored
            streamed["biases"] += coder.spent() - start
        elif entry.kind == CODEBOOK:
            bits["codebooks"] += 8 * entry.stored
            streamed["values"] += coder.spent() - positioned
        else:
            nonzero = 8 * entry.dtype.itemsize * int(kept.sum())
            bits["values"] += nonzero
            bits["positions"] += 8 * entry.stored - nonzero
    spent, stream = coder.spent(), coder.finish()
    for section, each in streamed.items():
        shared = round(8 * len(stream) * each / spent) if spent else 0
        bits[section] += shared
        bits["positions"] -= shared
    bits["positions"] += 8 * len(stream)
    body = bytes(header + stream + values)
    data = body + zlib.crc32(body).to_bytes(4, "little")
    return data, {**bits, "header": 8 * len(data) - sum(bits.values())}


def _write_reference(reference: object, own: int) -> bytes:
    """The weights of the network this one came from: `model.reference_weights`, else its own."""
    if not isinstance(reference, int) or not 0 <= reference <= MOST_WEIGHTS:
        raise CodecError(f"model.reference_weights must be a weight count, but is {reference!r}")
    return wire.number(0 if reference == own else reference)


def _patterns(name: str, tensor: Tensor) -> np.ndarray:
    """The bits of a tensor: a row of bytes per element, row-major, little-endian."""
    if tensor.dtype not in DTYPES:
        raise CodecError(f"{name} is of {tensor.dtype}, which a file cannot keep")
    flat = torch.empty(tensor.numel(), dtype=tensor.dtype, device="cpu")
    flat.copy_(tensor.detach().reshape(-1))
    return flat.view(torch.uint8).numpy().reshape(-1, tensor.dtype.itemsize)


def _warn_of_negative_zeros(name: str, number: int) -> None:
    if number >= MANY:
        warnings.warn(
            f"{name} has {number} negative zeros, each kept like a nonzero: pruning by "
            "multiplication makes them, and adding 0.0 to the weight makes them plain zeros",
            stacklevel=4,
        )


def _plan(
    name: str, tensor: Tensor, patterns: np.ndarray, kept: np.ndarray, tied: int | None
) -> tuple[Entry, np.ndarray, np.ndarray]:
    """How to store a tensor, the smallest of RAW, SPARSE and CODEBOOK; labels and codebook of the last."""
    entry, keep = Entry(name, tuple(tensor.shape), tensor.dtype), int(kept.sum())
    none = np.empty(0, dtype=np.int64)
    if tied is not None:
        return replace(entry, kind=TIED, tied=tied), none, none
    sparse = replace(entry, kind=SPARSE, keep=keep)
    layout, positions = 0, 0.0
    if keep < kept.size:
        layout, positions = best_layout(entry.matrix, np.flatnonzero(kept ^ sparse.inverted))
    costs = {RAW: 8 * entry.stored, SPARSE: positions + 8 * sparse.stored + 8 * len(wire.number(keep))}
    book, labels = _book(patterns[kept].view(f"<u{tensor.dtype.itemsize}").reshape(-1))
    if len(book):
        shares = np.bincount(labels) / keep
        # What learning the frequencies costs: half of log2 n bits for each of them.
        each = float(-(shares * np.log2(shares)).sum()) * keep + len(book) / 2 * np.log2(keep + 2)
        written = replace(sparse, kind=CODEBOOK, book=len(book))
        costs[CODEBOOK] = positions + each + 8 * (written.stored + len(wire.number(keep)) + 2)
    kind = min(costs, key=costs.get)
    if kind == RAW:
        return entry, none, none
    sparse = replace(sparse, kind=kind, layout=layout)
    return (sparse, none, none) if kind == SPARSE else (replace(sparse, book=len(book)), labels, book)


def _book(patterns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different patterns, ascending, and the place of each; none where they are too many."""
    few = np.unique(patterns[: 4 * MOST_VALUES])  # a look that spares large tensors the sorting
    book = few if len(few) > MOST_VALUES else np.unique(patterns)
    if len(book) > MOST_VALUES:
        return np.empty(0, dtype=patterns.dtype), np.empty(0, dtype=np.int64)
    return book, np.searchsorted(book, patterns)


def _checked(data: bytes) -> bytes:
    """What stands between version and checksum; CodecError unless all three are right."""
    if data[:3] != MAGIC:
        raise CodecError("this is no .admm file: its first bytes are not the format's")
    if len(data) < 8:
        raise CodecError("the file ends within its header")
    if data[3] != VERSION:
        told = f"the file has format version {data[3]}, this library reads version {VERSION}"
        raise CodecError(f"{told}: another release of the library may read it")
    if zlib.crc32(data[:-4]).to_bytes(4, "little") != data[-4:]:
        raise CodecError("the checksum is wrong: the file is damaged or cut short")
    return data[4:-4]


def _read_tensors(reader: wire.Reader, entries: list[Entry]) -> dict[str, Tensor]:
    """The tensors by name. Memory and work are bounded by their shapes, which a model or architecture set."""
    values = sum(entry.stored for entry in entries)
    if values > reader.left():
        raise CodecError(f"the file ends within its values: {reader.left()} of {values} bytes left")
    decoder = Decoder(reader.take(reader.left() - values, "positions"))
    tensors: dict[str, Tensor] = {}
    for entry in entries:
        if entry.kind == TIED:
            tensors[entry.name] = tensors[entries[entry.tied].name]
        else:
            tensors[entry.name] = _read_tensor(decoder, entry, reader.take(entry.stored, "values"))
    decoder.finish()
    return tensors


def _read_tensor(decoder: Decoder, entry: Entry, values: bytes) -> Tensor:
    kept = np.full(entry.numel, entry.kind == RAW or entry.inverted)
    stored = np.frombuffer(values, dtype=np.uint8).reshape(-1, entry.dtype.itemsize)
    if entry.kind in (SPARSE, CODEBOOK):
        marked = code_positions(decoder, entry.matrix, entry.marked, entry.layout)
        kept[marked] = not entry.inverted
    if entry.kind == CODEBOOK:
        stored = stored[code_labels(decoder, entry.book, entry.keep)]
    patterns = np.zeros((entry.numel, entry.dtype.itemsize), dtype=np.uint8)
    patterns[kept] = stored
    if entry.dtype == torch.bool and patterns.max(initial=0) > 1:
        raise CodecError(f"{entry.name[:80]!r} holds a truth value other than 0 and 1")
    return torch.from_numpy(patterns.reshape(-1)).view(entry.dtype).reshape(entry.shape)
