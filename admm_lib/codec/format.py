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
             integer  SPARSE: how many elements are kept; TIED: the index of the entry it shares
    stream   the positions of all SPARSE entries, range coded
    values   the bits of the kept elements, entry after entry, little-endian
    4 bytes  CRC-32 of everything before, little-endian

A kept element is one whose bits are not all zero, so -0.0 and NaN survive. The positions are those
of the kept elements, or of the others where these are fewer.
"""

import os
import secrets
import warnings
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from . import network, wire
from .entries import DTYPES, RAW, SPARSE, TIED, Entry, read_entries, write_entry
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

    `values`: the nonzeros of tensors with two or more dimensions; `positions`: what tells where
    these are (of a tensor written whole, its zeros); `biases`: all other tensors; `header`: names,
    shapes, counts, checksum.
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
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with partial.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


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
    foreign file, a later format version, or a model that does not fit.
    """
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

    coder, values, streamed = Encoder(), bytearray(), 0.0
    bits = {"values": 0, "positions": 0, "biases": 0}
    for name, tensor in state.items():
        patterns = _patterns(name, tensor)
        kept = patterns.any(1)
        _warn_of_negative_zeros(name, int(kept.sum()) - int(tensor.count_nonzero()))
        entry = _plan(name, tensor, kept, places.get(tied.get(name)))
        header += write_entry(entry, spelled=identity is None)
        start = coder.spent()
        values += _write_tensor(coder, entry, patterns, kept)
        if name in weights:
            nonzero = 8 * entry.dtype.itemsize * int(kept.sum())
            bits["values"] += nonzero
            bits["positions"] += 8 * entry.stored - nonzero
        else:
            bits["biases"] += 8 * entry.stored
            streamed += coder.spent() - start
    spent, stream = coder.spent(), coder.finish()
    shared = round(8 * len(stream) * streamed / spent) if spent else 0
    bits["biases"] += shared
    bits["positions"] += 8 * len(stream) - shared
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


def _plan(name: str, tensor: Tensor, kept: np.ndarray, tied: int | None) -> Entry:
    """How to store a tensor whose nonzero elements are `kept`: the smaller of RAW and SPARSE."""
    entry = Entry(name, tuple(tensor.shape), tensor.dtype)
    if tied is not None:
        return replace(entry, kind=TIED, tied=tied)
    keep = int(kept.sum())
    if keep == kept.size:
        return entry
    sparse = replace(entry, kind=SPARSE, keep=keep)
    layout, bits = best_layout(entry.matrix, np.flatnonzero(kept ^ sparse.inverted))
    bits += 8 * (len(wire.number(keep)) + sparse.stored)
    return replace(sparse, layout=layout) if bits < 8 * entry.stored else entry


def _write_tensor(coder: Encoder, entry: Entry, patterns: np.ndarray, kept: np.ndarray) -> bytes:
    """Code the positions; returns what goes among the values."""
    if entry.kind == SPARSE:
        marked = np.flatnonzero(kept ^ entry.inverted)
        code_positions(coder, entry.matrix, entry.marked, entry.layout, marked)
        patterns = patterns[kept]
    return b"" if entry.kind == TIED else patterns.tobytes()


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
    """The tensors by name. Memory is bounded by their shapes, work by the file's length too."""
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
    if entry.kind == SPARSE:
        marked = code_positions(decoder, entry.matrix, entry.marked, entry.layout)
        kept[marked] = not entry.inverted
    patterns = np.zeros((entry.numel, entry.dtype.itemsize), dtype=np.uint8)
    patterns[kept] = np.frombuffer(values, dtype=np.uint8).reshape(-1, entry.dtype.itemsize)
    if entry.dtype == torch.bool and patterns.max(initial=0) > 1:
        raise CodecError(f"{entry.name[:80]!r} holds a truth value other than 0 and 1")
    return torch.from_numpy(patterns.reshape(-1)).view(entry.dtype).reshape(entry.shape)
