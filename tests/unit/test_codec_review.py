"""What counts as a weight, and what a file may hold: cases that were once wrong."""

import copy

import pytest
import torch
from torch import nn

import admm_lib as al
from admm_lib import codec


class Tied(nn.Module):
    """Two layers that are one weight."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False)
        self.second.weight = self.first.weight


def test_a_pruned_tied_weight_counts_once_held_or_baked():
    model = Tied()
    al.ADMM(model, {"first.weight": al.Sparse(keep=7)}).finalize()
    held = al.storage.ladder(model)
    baked = al.storage.ladder(al.bake(copy.deepcopy(model)))
    for found in (held, baked):
        assert (found.weights, found.nonzero_weights) == (36, 7)


def test_a_matrix_that_is_no_parameter_is_no_weight():
    model = nn.Linear(10, 10)
    model.register_buffer("mask", torch.ones(100, 100))
    assert al.storage.ladder(model).weights == 100
    assert [row.name for row in al.storage.count(model)] == ["weight"]


def test_a_file_whose_bias_is_whole_numbers_is_refused():
    model = al.models.lenet300()
    model.fc1.bias = nn.Parameter(torch.zeros(300, dtype=torch.int8), requires_grad=False)
    with pytest.raises(al.CodecError, match=r"fc1\.bias is torch\.int8 in the file"):
        codec.decode(codec.encode(model))
