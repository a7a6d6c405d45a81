"""Damaged, foreign and hostile files: a CodecError with the reason, soon, and nothing allocated."""

import random
import time
import tracemalloc
import zlib

import pytest
import torch
from torch import nn

from admm_lib import codec, models
from admm_lib.codec import tensors, wire
from admm_lib.codec.entries import CODEBOOK, RAW, SPARSE, STEPS
from admm_lib.codec.positions import CORNER


def sealed(body):
    """A file with a right checksum, so that what lies behind it is tested."""
    return bytes(body) + zlib.crc32(bytes(body)).to_bytes(4, "little")


def small():
    """Every kind: sparse, whole, tied, truth-valued and integer tensors, a codebook, steps, a corner."""
    model = nn.Sequential(nn.Linear(9, 4), nn.BatchNorm1d(4), nn.Linear(4, 4), nn.Linear(4, 4))
    model[3].weight = model[2].weight
    model.register_buffer("flags", torch.arange(20) % 7 == 0)
    with torch.no_grad():
        for parameter in model.parameters():
            places = torch.arange(parameter.numel()).reshape(parameter.shape)
            parameter.copy_((places % 5 == 1) * (1 + places % 3))
        model[0].weight[2] = torch.linspace(0.1, 0.9, 9)
        model[2].weight.copy_(torch.tensor([0.1, 0.2, 0.7])[torch.arange(16) % 3].reshape(4, 4))
        model[2].bias.copy_(torch.linspace(0.1, 0.9, 4))
    corner = torch.zeros(20, 30)
    corner[:5, :6] = torch.arange(30).reshape(5, 6) % 4 > 1
    model.register_buffer("corner", corner)
    return model


def test_the_module_here_has_every_kind():
    state = codec.plain_state(small())
    entries = [tensors.plan(name, each, None).entry for name, each in state.items()]
    assert {entry.kind for entry in entries} == {RAW, SPARSE, CODEBOOK, STEPS}  # and TIED
    assert any(entry.layout & CORNER for entry in entries)


@pytest.fixture
def tiny(monkeypatch):
    """An architecture so small that every single damage to its file can be tried."""

    def build(width=6, relu=True):
        network = nn.Sequential(nn.Linear(7, width, bias=relu))
        network.architecture = ("tiny", {"width": width, "relu": relu})
        return network

    monkeypatch.setitem(models.ARCHITECTURES, "tiny", build)
    network = build()
    with torch.no_grad():
        network[0].weight.masked_fill_(torch.arange(42).reshape(6, 7) % 5 > 0, 0)
    return network


def outcome(data, model=None):
    """The reason a file is refused, or None where it is read; any other exception fails the test."""
    try:
        codec.decode(data, model)
    except codec.CodecError as error:
        reason = str(error)
    else:
        return None
    assert len(reason.splitlines()) == 1
    return reason


def test_every_truncation_is_refused(tiny):
    for data, model in ((codec.encode(tiny), None), (codec.encode(small()), small())):
        assert outcome(data, model) is None
        for length in range(len(data)):
            assert outcome(data[:length], model)
        assert outcome(data + b"\0", model)


def test_every_flipped_bit_is_refused(tiny):
    for data, model in ((codec.encode(tiny), None), (codec.encode(small()), small())):
        for bit in range(8 * len(data)):
            damaged = bytearray(data)
            damaged[bit // 8] ^= 1 << bit % 8
            assert outcome(damaged, model)


def test_every_flipped_bit_behind_a_right_checksum_is_refused_or_read(tiny):
    refused = set()
    for data, model in ((codec.encode(tiny), None), (codec.encode(small()), small())):
        for bit in range(8 * len(data) - 32):
            damaged = bytearray(data[:-4])
            damaged[bit // 8] ^= 1 << bit % 8
            refused.add((outcome(sealed(damaged), model) or "")[:25])
    assert len(refused) > 15  # the checks behind the checksum are reached


@pytest.mark.parametrize("seed", range(3))
def test_random_damage_behind_a_right_checksum_is_refused_or_read(seed):
    dice, data, model = random.Random(seed), codec.encode(small())[:-4], small()
    for _ in range(400):
        damaged = bytearray(data)
        for _ in range(dice.choice((1, 2, 5))):
            place, size = dice.randrange(len(damaged)), dice.randrange(9)
            damaged[place : place + dice.choice((0, size))] = dice.randbytes(size)
        outcome(sealed(damaged), model)


def test_random_bytes_are_no_file():
    dice = random.Random(0)
    for size in range(300):
        noise = dice.randbytes(size)
        assert outcome(noise)
        outcome(sealed(b"\xadMM\x01" + noise), small())


@pytest.mark.parametrize("version", [0, 3, 255])
def test_other_versions_are_refused_by_number(version):
    data = bytearray(codec.encode(models.lenet300()))
    data[3] = version  # before the checksum: a later version may end otherwise
    words = f"the file has format version {version}, this library reads versions up to 2"
    for file in (data, sealed(data[:-4])):
        assert outcome(file).startswith(words)


def test_damage_is_told_apart(tiny):
    data = codec.encode(tiny)
    assert "no .admm file" in outcome(b"PK\3\4" + data)
    assert "ends within its header" in outcome(data[:6])
    assert "checksum" in outcome(data[:-1])
    assert "ends within its values" in outcome(sealed(data[:30]))
    assert "do not fill" in outcome(sealed(data[:-4] + b"\0\0"))
    assert "unknown here: this library has lenet5" in outcome(sealed(b"\xadMM\x01\x63"))
    assert "unknown here" in outcome(sealed(b"\xadMM\x01\x7f" + wire.string("resnet50")))


def architecture(*arguments):
    return b"\xadMM\x01\x7f" + wire.string("tiny") + wire.number(2) + b"".join(arguments)


def generic(*sizes, entry=b"\x01\x00"):
    name = wire.string("weight") + wire.number(len(sizes)) + b"".join(map(wire.number, sizes))
    return b"\xadMM\x01\x00\x00" + wire.number(1) + name + entry


ZEROS = bytes(5)  # no reference, and raw tensors of nothing
HOSTILE = {
    "width is 65537 or more": architecture(bytes([wire.NATURAL]) + wire.number(65537)),
    "tiny(width=-5, relu=True) cannot be": architecture(wire.literal(-5), wire.literal(True), ZEROS),
    "width='w', relu=True) cannot be": architecture(wire.literal("w"), wire.literal(True), ZEROS),
    "number of arguments of tiny is 3": b"\xadMM\x01\x7f" + wire.string("tiny") + b"\x03",
    "argument width holds a value of unknown kind 99": architecture(b"\x63"),
    "argument width holds a value of unknown kind 7": architecture(b"\x07\x01\x07\x00"),
    "ends within its argument width": architecture(b"\x07\x05"),
    "number of nonzeros in '0.weight' is": architecture(
        wire.literal(65536), wire.literal(True), b"\x00\x01" + wire.number(7 * 65536 + 1)
    ),
    "ends within its values": architecture(
        wire.literal(65536), wire.literal(True), b"\x00\x01" + wire.number(7 * 65536 - 9) + b"\x00"
    ),
    "ends within its length of the tensor name": b"\xadMM\x01\x00\x00" + wire.number(1 << 19),
    "number of tensors is": b"\xadMM\x01\x00\x00" + b"\xff" * 9,
    "length of the tensor name is": b"\xadMM\x01\x00\x00\x01" + wire.number(1 << 30),
    "'weight' has more than": generic(1 << 30, 1 << 30),
    "tensor shape is": generic(1 << 60),
    "number of dimensions is": b"\xadMM\x01\x00\x00\x01\x01w" + wire.number(1 << 20),
    "weight is (1073741824, 8) torch.float32 in the file": generic(1 << 30, 8),
    "tied to a tensor that it cannot share": generic(8, 8, entry=b"\x02\x00"),
    "'weight' is stored in a way that": generic(8, 8, entry=b"\x05\x00"),
    "'weight' is stored in a way that ": generic(8, 8, entry=b"\x80\x63"),
    "'weight' has steps, but is": b"\xadMM\x02" + generic(8, 8, entry=b"\x84\x05\x01\x01\x01\x01")[4:],
    "'weight' is stored in a way that   ": generic(8, 8, entry=b"\x08"),
    "'weight' has an empty codebook": generic(8, 8, entry=b"\x03\x40\x00"),
    "number of values in 'weight' is 65 or more": generic(8, 8, entry=b"\x03\x40\x41"),
    "number of values in 'weight' is": generic(1 << 20, entry=b"\x03" + 2 * wire.number(1 << 20)),
    "not in ascending order": generic(8, 8)[:6] + b"\x02" + generic(8, 8)[7:] + b"\x01a\x00\x00",
}


@pytest.mark.parametrize("words", HOSTILE)
def test_hostile_headers_ask_for_nothing(tiny, words):
    data = sealed(HOSTILE[words])
    models.ARCHITECTURES["tiny"]()  # what torch loads on first use is not the file's doing
    tracemalloc.start()
    start = time.perf_counter()
    reason = outcome(data, None if b"tiny" in data else nn.Linear(8, 8, bias=False))
    seconds, (_, peak) = time.perf_counter() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert words.strip() in (reason or "it was read")
    assert peak < 5e6
    assert seconds < 10


def test_a_giant_network_is_refused_before_it_is_built(monkeypatch):
    def giant(width=1):
        return nn.Linear(width, width)

    monkeypatch.setitem(models.ARCHITECTURES, "giant", giant)
    body = b"\xadMM\x01\x7f" + wire.string("giant") + b"\x01" + wire.literal(65536)
    assert "giant(width=65536) has more than" in outcome(sealed(body + b"\x00\x00\x01\x00"))


def test_a_truth_value_is_0_or_1():
    model = nn.Module()
    model.register_buffer("flags", torch.ones(3, dtype=torch.bool))
    data = codec.encode(model)[:-4]
    assert data.endswith(b"\1\1\1")
    assert "'flags' holds a truth value other than" in outcome(sealed(data[:-1] + b"\2"), model)


def test_a_refused_file_leaves_the_model_alone():
    data, model = codec.encode(small()), nn.Sequential(*small().children())
    model.register_buffer("flags", torch.zeros(20, dtype=torch.bool))
    model.register_buffer("corner", torch.zeros(20, 30))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert outcome(sealed(data[:-5]), model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
