"""Shrinking and packing: networks that are refused by name, and those that are understood."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize
from unit.shrinking import (
    layers,
    linear,
    widths,
)

from admm_lib import models
from admm_lib.holding import hold
from admm_lib.parametrizations import Mask
from admm_lib.shrink import pack, runs_in_turn, shrink


class Doubled(nn.Sequential):
    def forward(self, x):
        return 2 * super().forward(x)


class Named(nn.Sequential):
    """Nothing but a name."""


class MyLinear(nn.Linear):
    def forward(self, x):
        return super().forward(x) + 1


def image(*rest):
    return nn.Sequential(nn.Conv2d(1, 4, 3), *rest)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (nn.Sequential(nn.Linear(2, 2), nn.Softmax(1)), r"1 is Softmax\(dim=1\): shrink takes nn.Sequential"),
        (nn.Sequential(nn.Sequential(nn.PReLU())), r"0\.0 is PReLU"),
        (nn.ModuleList([nn.Linear(2, 2)]), r"the model is ModuleList\(\): shrink takes"),
        (Doubled(nn.Linear(2, 2)), "the model is Doubled"),
        (nn.Sequential(Doubled(nn.Linear(2, 2))), "0 is Doubled"),
        (nn.Sequential(MyLinear(2, 2)), "0 is MyLinear"),
        (nn.Sequential(nn.ConvTranspose2d(2, 2, 1)), "0 is ConvTranspose2d"),
        (nn.Sequential(nn.Conv2d(4, 4, 3, groups=2)), r"0 is Conv2d\(.*groups=2.* with groups=1"),
        (
            nn.Sequential(nn.BatchNorm1d(2, track_running_stats=False)),
            "0 is BatchNorm1d.* running statistics",
        ),
        (image(nn.Flatten(0), nn.Linear(4, 1)), r"1 is Flatten\(start_dim=0.* Flatten\(1, -1\)"),
        (image(nn.Flatten(1, 2), nn.Linear(4, 1)), r"1 is Flatten\(start_dim=1, end_dim=2"),
        (image(nn.Linear(4, 1)), r"1, Linear\(.*does not fit the 4 units before it"),
        (image(nn.Conv2d(5, 1, 1)), r"1, Conv2d\(.*does not fit the 4 units"),
        (image(nn.Conv1d(4, 1, 1)), r"1, Conv1d\(.*does not fit"),
        (image(nn.MaxPool3d(2)), r"1, MaxPool3d\(.*does not fit"),
        (image(nn.BatchNorm1d(4)), r"1, BatchNorm1d\(.*does not fit"),
        (image(nn.BatchNorm2d(5)), r"1, BatchNorm2d\(.*does not fit"),
        (image(nn.Flatten(), nn.MaxPool1d(2)), r"2, MaxPool1d\(.*does not fit"),
        (image(nn.Flatten(), nn.Linear(7, 1)), r"2, Linear\(.*does not fit"),
        (image(nn.Flatten(), nn.Linear(3, 1)), r"2, Linear\(.*does not fit"),
        (image(nn.Flatten(), nn.BatchNorm1d(8), nn.Linear(16, 1)), r"3, Linear\(.*does not fit the 8 units"),
        (nn.Sequential(nn.Linear(2, 4), nn.MaxPool1d(2), nn.Linear(2, 1)), r"1, MaxPool1d\(.*does not fit"),
        (nn.Sequential(nn.Linear(2, 4), nn.Flatten(), nn.Linear(8, 1)), r"2, Linear\(.*does not fit the 4"),
        (nn.Sequential(nn.Linear(2, 4), nn.Conv1d(4, 1, 1)), r"1, Conv1d\(.*does not fit"),
    ],
    ids=lambda value: None if isinstance(value, str) else "",
)
def test_what_is_not_understood_is_refused_by_name(model, reason):
    with pytest.raises(ValueError, match=f"(?s)^{reason}"):
        shrink(model)


def test_a_sequential_by_another_name_is_understood():
    assert widths(shrink(Named(linear([[1.0], [0]], [0.0, 0]), linear([[1.0, 1]])))) == [1, 1]


def test_weights_used_twice_are_refused():
    block = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    first, second, norm = nn.Linear(2, 2), nn.Linear(2, 2), nn.BatchNorm1d(2)
    second.weight = first.weight
    for model in (nn.Sequential(block, block), nn.Sequential(first, second), nn.Sequential(norm, norm)):
        with pytest.raises(ValueError, match="a layer or a parameter is used twice"):
            shrink(model)


def test_a_refused_pack_changes_nothing():
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2, bias=False))
    weight = model[0].weight.detach().clone()
    weight[1], model[0].bias.data[1] = 0, 1  # a constant, and no bias to take it up
    hold(model[0], "weight", weight, Mask(weight != 0))
    with pytest.raises(ValueError, match="has no bias"):
        pack(model)
    assert parametrize.is_parametrized(model[0])
    assert torch.equal(model[0].weight, weight)


def test_pack_puts_live_units_first_and_changes_nothing_else():
    model = models.create("lenet5", seed=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, keep in (("conv1", 8), ("conv2", 16), ("fc1", 40)):
            layer = getattr(model, name)
            layer.weight[torch.randperm(len(layer.weight), generator=generator)[keep:]] = 0
        for layer in layers(model):
            layer.weight[torch.rand(layer.weight.shape, generator=generator) < 0.5] = 0
    x = torch.randn(20, 1, 28, 28, generator=generator)
    before = model(x)
    assert pack(model) is model
    torch.testing.assert_close(model(x), before, rtol=1e-4, atol=1e-5)
    assert not model.conv1.weight[8:].any()
    assert not model.conv2.weight[16:].any()
    assert not model.conv2.weight[:, 8:].any()
    assert not model.fc1.weight[40:].any()
    assert not model.fc1.weight[:, 16 * 16 :].any()
    assert not model.fc2.weight[:, 40:].any()
    assert model.conv1.weight[:8].flatten(1).any(1).all()
    packed = {name: value.clone() for name, value in model.state_dict().items()}
    pack(model)
    assert all(torch.equal(value, packed[name]) for name, value in model.state_dict().items())


def test_which_networks_run_in_turn():
    assert runs_in_turn(models.lenet5())
    assert not runs_in_turn(models.resnet20())
