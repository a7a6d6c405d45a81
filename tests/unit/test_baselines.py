"""The baselines of positions and values against plain references, and what they need of one network."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from unit.test_storage import Hand

import admm_lib as al
from admm_lib import baselines, models, storage

often = settings(max_examples=60, deadline=None, derandomize=True, database=None)


def relative_reference(weight, index_bits):
    """Entries of 1510.00149's format, one by one: how many, and how many of them are fillers."""
    entries = fillers = gap = 0
    for value in weight.reshape(-1).tolist():
        gap += 1
        if value:
            entries, gap = entries + 1, 0
        elif gap == 2**index_bits:
            # The longest gap an index can hold is used up: a filler zero, if anything follows.
            fillers, gap = fillers + 1, 0
    trailing = len(weight.reshape(-1)) - 1 - max(weight.reshape(-1).nonzero().flatten(), default=-1)
    return entries, fillers - int(trailing) // 2**index_bits


@often
@given(st.integers(0, 2**32 - 1), st.integers(1, 400), st.floats(0, 1), st.integers(1, 9))
def test_relative_index_charges_every_entry_and_filler(seed, size, density, index_bits):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.rand(size, generator=generator) * (torch.rand(size, generator=generator) < density)
    entries, fillers = relative_reference(weight, index_bits)
    expected = (entries + fillers) * index_bits + fillers * 32
    assert baselines.relative_index(weight, index_bits) == expected
    width, least = baselines.best_relative_index(weight)
    assert least == min(baselines.relative_index(weight, each) for each in range(1, 12))
    assert baselines.relative_index(weight, width) == least


def test_relative_index_on_the_papers_own_figure():
    """1510.00149, Figure 2: nonzeros at 1, 4 and 15, 3 bits: the gap beyond 8 takes a filler zero."""
    weight = torch.zeros(16)
    weight[[1, 4, 15]] = torch.tensor([3.4, 0.9, 1.7])
    assert baselines.relative_index(weight, 3) == (3 + 1) * 3 + 32
    assert baselines.relative_index(weight, 3, value_bits=4) == (3 + 1) * 3 + 4
    assert baselines.relative_index(weight, 4) == 3 * 4
    weight[15], weight[12] = 0, 1  # a gap of exactly 8 needs none
    assert baselines.relative_index(weight, 3) == 3 * 3
    with pytest.raises(ValueError, match="at least 1 bit"):
        baselines.relative_index(weight, 0)


def test_bitmap_and_csr_by_hand():
    weight = Hand().first.weight  # 3 x 4, three nonzeros
    assert baselines.bitmap(weight) == 12
    assert baselines.csr(weight) == 3 * 2 + (3 + 1) * 2
    assert baselines.csr(Hand().second.weight) == 1 * 2 + (2 + 1) * 1


def test_baselines_count_the_same_tensors():
    model, generator = models.lenet5(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in (p for p in model.parameters() if p.dim() > 1):
            parameter.masked_fill_(torch.rand(parameter.shape, generator=generator) < 0.95, 0)
    found = baselines.position_baselines(model)
    conv = [model.conv1.weight, model.conv2.weight]
    linear = [model.fc1.weight, model.fc2.weight]
    assert found["bitmap"] == 430500
    assert found["relative"] == sum(baselines.relative_index(w, 8) for w in conv) + sum(
        baselines.relative_index(w, 5) for w in linear
    )
    ladder = storage.ladder(model)
    assert found["file"] == ladder.positions - ladder.values
    assert found["uniform"] == pytest.approx(ladder.uniform - ladder.values)
    # No structure here: the file cannot beat the uniform mask, and loses at most a percent to it.
    assert 0.99 < found["file"] / found["uniform"] < 1.01
    assert found["uniform"] < found["relative best"] <= found["relative"]
    assert found["uniform"] < found["CSR"]


@often
@given(st.integers(0, 2**32 - 1), st.integers(1, 300), st.floats(0.01, 1))
def test_golomb_is_what_its_code_words_take(seed, size, density):
    weight = (torch.rand(size, generator=torch.Generator().manual_seed(seed)) < density).float()
    places = weight.nonzero().flatten().tolist()
    gaps = [b - a - 1 for a, b in zip([-1, *places], places, strict=False)]
    least = min(sum(len("1" * (gap >> width) + "0") + width for gap in gaps) for width in range(12))
    assert baselines.golomb(weight) == 8 + least


@often
@given(st.lists(st.integers(0, 40), min_size=1, max_size=5))
def test_no_prefix_code_is_shorter_than_huffmans(counts):
    lengths = baselines.huffman_lengths(np.array(counts))
    used = [count for count in counts if count]
    assert all((length > 0) == (count > 0) for length, count in zip(lengths, counts, strict=True))
    if len(used) < 2:
        return
    assert sum(2.0**-length for length in lengths if length) == 1
    cost = sum(count * length for count, length in zip(counts, lengths, strict=True))
    every = product(range(1, len(used)), repeat=len(used))  # all lengths that Kraft's inequality allows
    assert cost == min(
        sum(map(math.prod, zip(used, each, strict=True))) for each in every if sum(2.0**-n for n in each) <= 1
    )


def test_values_by_hand():
    model = nn.Linear(5, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.1, 0.1, 0.1, 0.0, 0.3], [0.0, 0.1, 0.7, 0.0, 0.0]]))
    found = baselines.value_baselines(model)
    assert found["fixed"] == 6 * 2 + 3 * 32  # 3 values take 2 bits
    assert found["huffman"] == 4 * 1 + 2 * 2 + 3 * 32
    ladder = storage.ladder(model)
    assert found["file"] == ladder.codebooks - ladder.positions + ladder.values
    assert baselines.value_baselines(al.models.create("lenet300", seed=0))["fixed"] > 32 * 266_000


def test_an_empty_layer_takes_no_values():
    model = nn.Linear(3, 3)
    nn.init.zeros_(model.weight)
    assert baselines.value_baselines(model) == {"fixed": 0, "huffman": 0, "file": 0}
