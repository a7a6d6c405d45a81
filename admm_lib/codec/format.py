"""What stands in an `.admm` file: one network, bit-exact, in few bytes, and nothing executable.

Format version 2; an integer is LEB128 unless its width is given:

    3 bytes  magic AD 4D 4D: "ADMM", its first two letters in one byte
    1 byte   format version
    integer  architecture: 0 none; one of network.NUMBERS; or 127, then its identifier as a string.
             Then the number of its arguments and each as a literal, in the constructor's order
    integer  the weights of the dense network it came from; 0: as many as it has itself
    entries  one per tensor, in the order of the constructor's state dict. Without an architecture
             their number, then each by name, in ascending order, preceded by its name and shape
             1 byte   kind | layout << 3 | 128 where a dtype byte follows (else it is float32)
             integer  SPARSE, CODEBOOK, STEPS: how many elements are kept; TIED: the index of the entry
                      it shares
             integer  CODEBOOK: how many values the codebook has
             3 integers  STEPS: the step's mantissa, which is odd, its exponent and its largest multiple
    stream   entry after entry the positions of what is kept, then its labels (CODEBOOK) or multiples
             (STEPS), range coded
    values   the bits of the kept elements, or of the codebook, entry after entry, little-endian
    4 bytes  CRC-32 of everything before, little-endian

A kept element is one whose bits are not all zero, so -0.0 and NaN survive. The positions are those
of the kept elements, or of the others where these are fewer. Version 1, which is read too, has neither
STEPS nor the layout CORNER.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from .. import files
from . import network, tensors, wire
from .entries import CODEBOOK, STEPS, TIED, Entry, read_entries, write_entry, write_step
from .rangecoder import CodecError, Decoder, Encoder

MAGIC = b"\xadMM"
VERSION, READ = 2, (1, 2)  # written, and read
MOST_WEIGHTS = 1 << 48


@dataclass(frozen=True)
class Contents:
    """What a file says before its values are read: the version of its format, the architecture and its
    arguments (None where the file names none), the weights of the dense network it came from (0: as many as
    it has itself), and how each tensor is stored.
    """

    version: int
    identity: network.Identity | None
    reference: int
    entries: tuple[Entry, ...]


def encode(model: nn.Module) -> bytes:
    """The network as the bytes of an `.admm` file; the model, parametrized or not, stays as it is.

    Raises CodecError for a state dict that holds anything but ordinary tensors, and where
    `model.architecture` does not describe the model, its tensors and its modules but for dropouts, or
    `model.reference_weights` is no count. Warns of a tensor with many negative zeros, which cost as much as
    any other value.

    >>> model = nn.Linear(100, 10)
    >>> dense = len(al.codec.encode(model))
    >>> al.ADMM(model, {"weight": al.Sparse(ratio=10)}).finalize()
    >>> dense > 6 * len(al.codec.encode(model))
    True
    """
    return measured(model)[0]


def sections(model: nn.Module) -> dict[str, int]:
    """The bits that the file spends, which add up to the whole file.

    `values`: the nonzeros of tensors with two or more dimensions, or their labels or multiples where these
    have a codebook or a step; `positions`: what tells where these are (of a tensor written whole, its
    zeros); `codebooks`, steps among them; `biases`: all other tensors; `header`: names, shapes, counts,
    checksum.

    >>> model = nn.Linear(4, 3)
    >>> al.codec.sections(model)["values"], al.codec.sections(model)["biases"]
    (384, 96)
    """
    return measured(model)[1]


def save(model: nn.Module, path: str | Path) -> None:
    """Write the network to a file, which is replaced as a whole or not at all.

    Raises FileNotFoundError where the folder is missing, CodecError as `encode` does.

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     al.save(nn.Linear(100, 10), Path(folder, "model.admm"))
    ...     [path.name for path in Path(folder).iterdir()]
    ['model.admm']
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"the folder {path.parent} does not exist: create it first")
    data = encode(model)
    with files.replaced(path) as file:
        file.write(data)


def load(path: str | Path, model: nn.Module | None = None) -> nn.Module:
    """The network in a file; see `decode`. Raises CodecError, naming the file and the reason, OSError where
    it cannot be read (FileNotFoundError for no file), and TypeError as `decode`.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     al.save(al.models.lenet300(), f"{folder}/model.admm")
    ...     al.load(f"{folder}/model.admm").fc3
    Linear(in_features=100, out_features=10, bias=True)
    """
    try:
        return decode(Path(path).read_bytes(), model)
    except CodecError as error:
        raise CodecError(f"{Path(path).name}: {error}") from None


def contents(data: bytes) -> Contents:
    """What stands in a file, its values left unread. Raises CodecError for a damaged or foreign file.

    >>> model = nn.Linear(2, 2)
    >>> model.weight.data = torch.tensor([[0.5, -1], [0.25, 3]])
    >>> [(each.name, each.stored_as) for each in al.codec.contents(al.codec.encode(model)).entries]
    [('bias', '32 bits each'), ('weight', 'multiples of a step, up to 12')]
    """
    return _read_contents(wire.Reader(_checked(data)), data[3])


def decode(data: bytes, model: nn.Module | None = None) -> nn.Module:
    """The network that `encode` wrote, plain: built anew, or `model` itself with the file's values.

    A file without a known architecture needs the `model`, with the same names, shapes and dtypes.
    It is changed only when the whole file has been checked. Raises CodecError for a damaged or
    foreign file, a later format version, or a model that does not fit; TypeError for no network.

    >>> model = nn.Linear(4, 3)
    >>> again = al.codec.decode(al.codec.encode(model), nn.Linear(4, 3))
    >>> al.codec.same_bits(again.weight, model.weight)
    True
    """
    if model is not None and not isinstance(model, nn.Module):
        raise TypeError(f"model= takes a network, as in model=MyNetwork(), and not {model!r}")
    data = bytes(memoryview(data))
    reader = wire.Reader(_checked(data))
    said = _read_contents(reader, data[3])
    if said.identity is None and model is None:
        raise CodecError("the file names no architecture: call load(path, model=MyNet())")
    if model is not None:
        network.check_fit(model, said.identity, {e.name: (e.shape, e.dtype) for e in said.entries})
    found = _read_tensors(reader, said.entries)
    if model is None:
        shared = {each.name: said.entries[each.tied].name for each in said.entries if each.kind == TIED}
        model = network.tie(network.fill(network.build(said.identity, "cpu"), found), shared)
    else:
        network.fill(model, found)
    if said.reference:
        model.reference_weights = said.reference
    else:  # of another network, whose values are gone
        vars(model).pop("reference_weights", None)
    return model


def measured(model: nn.Module) -> tuple[bytes, dict[str, int]]:
    """The file of `encode` and the bits of `sections`, at once."""
    identity = network.identity_of(model)
    header = bytearray([*MAGIC, VERSION]) + network.write_identity(identity)
    state = network.in_order(network.plain_state(model), model, identity)
    tied, places = network.ties(state), {name: place for place, name in enumerate(state)}
    weights = network.weights(model, state)
    own = sum(state[name].numel() for name in weights)
    header += _write_reference(getattr(model, "reference_weights", own), own)
    header += b"" if identity else wire.number(len(state))

    coder, values, ledger = Encoder(), [], _Ledger()
    for name, tensor in state.items():
        plan = tensors.plan(name, tensor, places.get(tied.get(name)))
        header += write_entry(plan.entry, spelled=identity is None)
        start = coder.spent()
        positions = tensors.write(coder, plan)
        values.append(plan.stored)
        ledger.add(plan, name in weights, positions, coder.spent() - start)
    stream = coder.finish()
    pieces, checksum = [bytes(header), stream, *values], 0
    for piece in pieces:
        checksum = zlib.crc32(piece, checksum)
    data = b"".join([*pieces, checksum.to_bytes(4, "little")])
    return data, ledger.bits(stream, len(data))


class _Ledger:
    """The bits of a file by section, counted while it is written."""

    def __init__(self) -> None:
        self._whole = {"values": 0, "positions": 0, "codebooks": 0, "biases": 0}
        self._streamed = dict.fromkeys(self._whole, 0.0)

    def add(self, plan: tensors.Plan, weight: bool, positions: float, spent: float) -> None:
        """One tensor, whose `positions` took so many of the bits that it spent of the stream."""
        entry = plan.entry
        step = 8 * len(write_step(entry.step)) if entry.kind == STEPS else 0
        if not weight:
            self._whole["biases"] += 8 * len(plan.stored) + step
            self._streamed["biases"] += spent
            return
        self._streamed["positions"] += positions
        self._streamed["values"] += spent - positions
        self._whole["codebooks"] += step
        if entry.kind == CODEBOOK:
            self._whole["codebooks"] += 8 * len(plan.stored)
        else:
            nonzero = 8 * entry.dtype.itemsize * int(plan.kept.sum()) if len(plan.stored) else 0
            self._whole["values"] += nonzero
            self._whole["positions"] += 8 * len(plan.stored) - nonzero

    def bits(self, stream: bytes, size: int) -> dict[str, int]:
        """All sections; those of the stream in proportion, so that they add up to the whole file."""
        spent = sum(self._streamed.values())
        shared = {
            name: round(8 * len(stream) * each / spent) if spent else 0
            for name, each in self._streamed.items()
        }
        shared["positions"] += 8 * len(stream) - sum(shared.values())
        bits = {name: whole + shared[name] for name, whole in self._whole.items()}
        return {**bits, "header": 8 * size - sum(bits.values())}


def _write_reference(reference: object, own: int) -> bytes:
    """The weights of the network this one came from: `model.reference_weights`, else its own."""
    if not isinstance(reference, int) or not 0 <= reference <= MOST_WEIGHTS:
        raise CodecError(f"model.reference_weights must be a weight count, but is {reference!r}")
    return wire.number(0 if reference == own else reference)


def _checked(data: bytes) -> bytes:
    """What stands between version and checksum; CodecError unless all three are right."""
    if data[:3] != MAGIC:
        raise CodecError("this is no .admm file: its first bytes are not the format's")
    if len(data) < 8:
        raise CodecError("the file ends within its header")
    if data[3] not in READ:
        told = f"the file has format version {data[3]}, this library reads versions up to {VERSION}"
        raise CodecError(f"{told}: another release of the library may read it")
    if zlib.crc32(data[:-4]).to_bytes(4, "little") != data[-4:]:
        raise CodecError("the checksum is wrong: the file is damaged or cut short")
    return data[4:-4]


def _read_contents(reader: wire.Reader, version: int) -> Contents:
    identity = network.read_identity(reader)
    reference = reader.number(MOST_WEIGHTS, "reference weight count")
    shapes = network.shapes_of(identity) if identity else None
    return Contents(version, identity, reference, tuple(read_entries(reader, shapes, version)))


def _read_tensors(reader: wire.Reader, entries: Sequence[Entry]) -> dict[str, Tensor]:
    """The tensors by name. Memory and work are bounded by their shapes, which a model or architecture set."""
    values = sum(entry.stored for entry in entries)
    if values > reader.left():
        raise CodecError(f"the file ends within its values: {reader.left()} of {values} bytes left")
    decoder = Decoder(reader.take(reader.left() - values, "positions"))
    found: dict[str, Tensor] = {}
    for entry in entries:
        if entry.kind == TIED:
            found[entry.name] = found[entries[entry.tied].name]
        else:
            found[entry.name] = tensors.read(decoder, entry, reader.take(entry.stored, "values"))
    decoder.finish()
    return found
