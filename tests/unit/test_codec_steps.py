"""Multiples of a step in a file: found exactly, written in hardly more than their entropy, and checked."""

import math
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from admm_lib import Levels, codec, models
from admm_lib.codec import CodecError
from admm_lib.codec.labels import code_multiples
from admm_lib.codec.rangecoder import Decoder, Encoder
from admm_lib.codec.steps import LARGEST, Step, find_step, multiples_of

often = settings(max_examples=100, deadline=None, derandomize=True, database=None)
dtypes = st.sampled_from([torch.float64, torch.float32, torch.bfloat16, torch.float16])


@often
@given(dtypes, st.integers(1, 127), st.integers(-8, 4), st.lists(st.integers(1, 256), min_size=1))
def test_a_step_is_found_whatever_the_multiples(dtype, mantissa, exponent, sizes):
    random = np.random.default_rng(len(sizes))
    multiples = np.array(sizes) * random.choice([-1, 1], len(sizes))
    digits = {torch.float64: 53, torch.float32: 24, torch.bfloat16: 8, torch.float16: 11}[dtype]
    if mantissa * max(sizes) >= 1 << digits:  # then the dtype rounds them
        mantissa, multiples = 1, np.sign(multiples) << abs(multiples) % 5
    values = torch.tensor(multiples * math.ldexp(mantissa, exponent)).to(dtype)
    step = find_step(values)
    assert step.mantissa % 2 == 1
    assert math.gcd(*multiples_of(step, values).tolist()) == 1  # there is no greater one
    assert step.largest == abs(multiples_of(step, values)).max()
    assert torch.equal(step.values(multiples_of(step, values), dtype), values)


@pytest.mark.parametrize(
    "values",
    [
        [],
        [0.0, 1.0],
        [float("inf"), 1.0],
        [float("nan")],
        [1.0, LARGEST + 1.0],
        [1.0, 1 + 2**-20],
        [1e-300, 1e300],
    ],
)
def test_where_there_is_no_step_none_is_found(values):
    assert find_step(torch.tensor(values, dtype=torch.float64)) is None


@often
@given(st.integers(1, 300), st.integers(0, 400), st.integers(0, 2**32 - 1))
def test_multiples_come_back(largest, count, seed):
    random = np.random.default_rng(seed)
    multiples = random.integers(1, largest + 1, count) * random.choice([-1, 1], count)
    encoder = Encoder()
    code_multiples(encoder, largest, count, multiples)
    decoder = Decoder(encoder.finish())
    assert code_multiples(decoder, largest, count).tolist() == multiples.tolist()
    decoder.finish()


@pytest.mark.parametrize("shares", [[0.7, 0.3], [0.4, 0.3, 0.2, 0.1]])
def test_few_multiples_cost_their_entropy(shares):
    random = np.random.default_rng(0)
    multiples = random.choice(len(shares), 3_000, p=shares) + 1
    multiples *= random.choice([-1, 1], 3_000)
    encoder = Encoder()
    code_multiples(encoder, len(shares), 3_000, multiples)
    entropy = 3_000 * (1 - sum(p * math.log2(p) for p in shares))
    assert encoder.spent() < 1.01 * entropy + 40


def levels_file(bits=3):
    """A pruned LeNet-300-100 on levels, and its file."""
    model = models.create("lenet300", seed=0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            keep = torch.rand(parameter.shape, generator=torch.Generator().manual_seed(1)) < 0.1
            parameter.copy_(Levels(bits).project(torch.where(keep, parameter, 0)))
            assert parameter.any(), name
    return model, codec.encode(model)


def test_levels_take_a_step_and_no_codebook():
    model, data = levels_file()
    assert codec.sections(model)["codebooks"] <= 3 * 8 * 7  # three steps
    read = codec.decode(data)
    assert all(torch.equal(a, b) for a, b in zip(read.parameters(), model.parameters(), strict=True))
    sections = codec.sections(model)
    assert sum(sections.values()) == 8 * len(data)
    kept = sum(int(p.count_nonzero()) for p in model.parameters() if p.dim() > 1)
    assert sections["values"] < 3.02 * kept + 100  # 8 levels, 3 bits


def test_numbers_that_a_machine_may_flush_to_zero_are_kept_by_their_bits():
    values = torch.tensor([2.0**-140, 3 * 2.0**-140] * 100)
    assert find_step(values) is None
    assert find_step(values.double()) == Step(1, -140, 3)
    for dtype, exponent in ((torch.float16, 100), (torch.float32, -1000)):
        with pytest.raises(CodecError, match="leaves the range"):
            Step(1, exponent, 3).values(np.array([1]), dtype)


def test_version_1_has_no_steps():
    _, data = levels_file()
    old = bytearray(data[:-4])
    old[3] = 1
    with pytest.raises(CodecError, match="in a way that version 1 of the format has not"):
        codec.decode(sealed(bytes(old)))


def test_negative_zeros_and_whole_numbers_are_no_steps():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("counts", torch.tensor([0, 3, 6, 9] * 50))
            self.register_buffer("zeros", torch.tensor([-0.0, 0.5, 1.5, 0.0] * 20))

    model = Odd()
    read = codec.decode(codec.encode(model), Odd())
    assert torch.equal(read.counts, model.counts)
    assert torch.equal(read.zeros.signbit(), model.zeros.signbit())


def sealed(body):
    return body + zlib.crc32(body).to_bytes(4, "little")


def test_damaged_steps_are_refused():
    """One tensor, all of it 3 * 2^-1, so that every byte of its entry is known."""

    class One(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("x", torch.full((300,), 1.5))

    body = codec.encode(One())[:-4]
    at = body.index(bytes([3, 1, 1])), 3  # mantissa 3, exponent -1, largest 1
    told = {
        b"\2\1\1": "not in lowest terms",
        b"\3\1\0": "not in lowest terms",
        b"\3\xff\x7f\1": "exponent of a step is",
        b"\3\1\xff\x7f": "largest multiple of a step is",
        b"\3\xfe\x10\1": "leaves the range",
    }
    for step, words in told.items():
        damaged = body[: at[0]] + step + body[at[0] + at[1] :]
        with pytest.raises(CodecError, match=words):
            codec.decode(sealed(damaged), One())


def test_multiples_beyond_the_largest_are_refused():
    encoder = Encoder()
    code_multiples(encoder, 7, 4, np.array([7, 7, -7, 7]))
    with pytest.raises(CodecError, match="leave their range"):
        code_multiples(Decoder(encoder.finish()), 5, 4)


def test_values_beyond_a_double_are_refused():
    with pytest.raises(CodecError, match="leaves the range"):
        Step(3, 1100, 2).values(np.array([1]), torch.float64)
