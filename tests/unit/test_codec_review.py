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


def test_a_network_whose_modules_were_changed_does_not_pass_for_its_architecture():
    """Its tensors are the architecture's, and what came back computed something else."""
    changes = {
        "act3 is .*ReLU.* in lenet5 and .*Tanh": lambda model: setattr(model, "act3", nn.Tanh()),
        "the module has no 'act3'": lambda model: delattr(model, "act3"),
        "lenet5 has no 'more'": lambda model: model.add_module("more", nn.Softmax(1)),
        r"conv1 is .*stride=\(1, 1\).*stride=\(2, 2\)": lambda model: setattr(
            model, "conv1", nn.Conv2d(1, 20, 5, 2)
        ),
        "in another order": lambda model: setattr(model, "act3", model._modules.pop("act3")),
    }
    for told, change in changes.items():
        model = al.models.lenet5()
        change(model)
        with pytest.raises(al.CodecError, match=f"does not describe the model: .*{told}.*; delete that attr"):
            codec.encode(model)
        del model.architecture
        codec.encode(model)


def test_what_only_training_knows_keeps_no_network_from_its_architecture():
    model = al.models.lenet300()
    before = codec.encode(model)
    model.add_module("drop", nn.Dropout())
    model.act1.inplace = True
    assert codec.encode(model) == before
    al.ADMM(model, {"fc1.weight": al.Sparse(ratio=10)}).finalize()  # a mask holds it
    assert torch.equal(codec.decode(codec.encode(model)).fc1.weight, model.fc1.weight)
    deep = al.models.resnet20()
    deep.bn1.momentum = None
    assert codec.decode(codec.encode(deep)).bn1.momentum == 0.1


def test_a_model_that_is_filled_forgets_which_network_it_came_from():
    model = al.models.lenet300()
    data = codec.encode(model)
    model.reference_weights = 430_500
    assert not hasattr(codec.decode(data, model), "reference_weights")
    assert codec.encode(model) == data


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_tied_weights_of_a_known_architecture_come_back_tied(monkeypatch, dtype):
    def twins():
        model = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Linear(6, 6), nn.BatchNorm1d(6))
        model.architecture = ("twins", {})
        return model

    monkeypatch.setitem(al.models.ARCHITECTURES, "twins", twins)
    model = twins().to(dtype)
    model[2].weight, model[3].running_mean = model[0].weight, model[1].running_mean
    read = codec.decode(codec.encode(model))
    assert read[2].weight is read[0].weight
    assert read[3].running_mean is read[1].running_mean
    assert read[2].bias is not read[0].bias
    assert len([*read.parameters()]) == len([*model.parameters()])
    assert codec.encode(read) == codec.encode(model)
