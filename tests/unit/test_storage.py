"""The accounting ladder against counts by hand, and the baselines against plain references."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from admm_lib import codec, models, storage
from admm_lib.holding import hold
from admm_lib.parametrizations import Mask

often = settings(max_examples=60, deadline=None, derandomize=True, database=None)


class Hand(nn.Module):
    """12 + 8 weights of which 3 and 1 are nonzero, 4 + 2 other numbers."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 3, bias=False), nn.Conv2d(4, 2, 1)
        self.register_buffer("scale", torch.tensor([0.1, 0.2, 0.3, 0.7]))
        with torch.no_grad():
            self.first.weight.zero_()[0, :3] = torch.tensor([0.1, -2.3, 3.7])
            self.second.weight.zero_()[1, 3] = 0.7


def test_the_count_is_the_one_by_hand():
    assert storage.count(Hand()) == [
        storage.Layer("first.weight", 12, 3, 4.0),
        storage.Layer("second.weight", 8, 1, 8.0),
    ]
    assert storage.layers(Hand())[1] == {
        "name": "second.weight", "weights": 8, "nonzeros": 1, "ratio": 8.0,
    }  # fmt: skip


def test_the_ladder_is_the_one_by_hand():
    ladder, sections = storage.ladder(Hand()), codec.sections(Hand())
    assert (ladder.weights, ladder.nonzero_weights) == (20, 4)
    assert ladder.values == 4 * 32
    assert ladder.positions == ladder.codebooks == 4 * 32 + sections["positions"]
    assert ladder.biases == ladder.positions + 6 * 32
    assert ladder.file == 8 * len(codec.encode(Hand())) == ladder.biases + sections["header"]
    assert ladder.uniform == pytest.approx(128 + math.log2(math.comb(12, 3)) + math.log2(8))
    assert ladder.ratio("values") == 20 / 4
    assert ladder.ratio("file") == 20 * 32 / ladder.file
    assert ladder.as_bits() == {
        "values": ladder.values, "positions": ladder.positions, "codebooks": ladder.codebooks,
        "biases": ladder.biases, "file": ladder.file,
    }  # fmt: skip
    with pytest.raises(ValueError, match="unknown rung 'weights': choose one of values, positions"):
        ladder.ratio("weights")


def test_the_table_is_stable_text():
    ladder = storage.Ladder(430500, 2577, 82464, 97480, 97480, 116040, 116264, 101902.5)
    assert str(ladder) == ladder.table() == (
        "2,577 of 430,500 weights are nonzero: 167.1x\n"
        "counted                             bits        bytes      ratio\n"
        "dense weights at 32 bits      13,776,000    1,722,000       1.0x\n"
        "values of the nonzeros            82,464       10,308     167.1x\n"
        "+ their positions                 97,480       12,185     141.3x\n"
        "+ codebooks                       97,480       12,185     141.3x\n"
        "+ biases, norms, buffers         116,040       14,505     118.7x\n"
        "= the file, all included         116,264       14,533     118.5x\n"
        "(values, a uniform mask)         101,902       12,738     135.2x"
    )  # fmt: skip


def test_reference_counts_of_the_papers():
    assert storage.ladder(models.lenet5()).weights == 430500
    ladder = storage.ladder(models.lenet300())
    assert (ladder.weights, ladder.biases - ladder.codebooks) == (266200, 32 * 410)
    # A dense network is written whole: its values are all there is to say of its weights.
    assert ladder.values == ladder.positions == 32 * 266200
    assert 1 > ladder.ratio("file") > 0.99


def test_zeros_of_a_tensor_written_whole_tell_positions():
    model = nn.Module()
    model.flags = nn.Parameter(torch.tensor([[1, 0], [2, 3]], dtype=torch.int8), requires_grad=False)
    ladder = storage.ladder(model)
    assert (ladder.values, ladder.positions) == (3 * 8, 4 * 8)


def test_labels_are_the_values_of_a_codebook():
    model = nn.Linear(64, 32, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([-0.5, 0.25, 0.75])[torch.arange(2048).reshape(32, 64) % 3])
        model.weight[:, ::2] = 0
    ladder, sections = storage.ladder(model), codec.sections(model)
    assert ladder.codebooks - ladder.positions == sections["codebooks"] == 3 * 32
    assert 1024 * math.log2(3) - 10 < ladder.values < 1024 * math.log2(3) * 1.03
    assert ladder.biases == ladder.codebooks
    assert ladder.file == 8 * len(codec.encode(model))


def test_sparse_vectors_count_among_the_biases():
    model = nn.LayerNorm(200)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    model.weight.data[17] = 0.1
    ladder = storage.ladder(model)
    assert (ladder.weights, ladder.values, ladder.positions) == (0, 0, 0)
    assert 32 + 7 <= ladder.biases <= 32 + 16
    assert ladder.ratio("values") == math.inf


def test_constraints_ties_and_origin_are_seen():
    model = nn.Sequential(nn.Linear(30, 30, bias=False), nn.Linear(30, 30, bias=False))
    model[1].weight = model[0].weight
    assert storage.ladder(model).weights == 900
    assert storage.ladder(model).values == 900 * 32
    model = nn.Sequential(nn.Linear(30, 30, bias=False))
    mask = torch.rand(30, 30) > 0.9
    hold(model[0], "weight", model[0].weight.detach(), Mask(mask))
    assert storage.count(model)[0].nonzeros == mask.sum()
    model.reference_weights = 9000
    assert storage.ladder(model).ratio("values") == pytest.approx(9000 / int(mask.sum()))


def test_an_empty_layer_has_no_ratio():
    model = nn.Linear(3, 3)
    nn.init.zeros_(model.weight)
    assert storage.count(model)[0].ratio == math.inf
    assert storage.layers(model)[0]["ratio"] is None
    assert storage.ladder(model).uniform == 0
    assert "inf" in str(storage.ladder(model))


@often
@given(st.integers(0, 3000), st.data())
def test_uniform_is_the_binomial_coefficient(cells, data):
    keep = data.draw(st.integers(0, cells))
    assert storage.uniform(cells, keep) == pytest.approx(math.log2(math.comb(cells, keep)), abs=1e-6)
