"""Shrinking: what is constant, unread or dead, by hand."""

import pytest
import torch
from torch import nn
from unit.shrinking import (
    ACTIVATIONS,
    conv,
    layers,
    linear,
    nonzeros,
    same,
    size,
    train,
    widths,
)

from admm_lib import models
from admm_lib.shrink import expand, shrink


def test_a_constant_unit_is_folded_and_an_unread_one_dropped():
    """Unit 1 is relu(3) = 3, folded; unit 2 is relu(-3) = 0; nothing reads unit 3."""
    model = nn.Sequential(
        linear([[1.0, 2], [0, 0], [0, 0], [5, 6], [0, 4]], [7.0, 3, -3, 8, 9]),
        nn.ReLU(),
        linear([[1.0, 10, 20, 0, 2], [3, -1, 30, 0, 0]], [0.5, 0.25]),
    )
    small = shrink(model)
    assert small[0].weight.tolist() == [[1, 2], [0, 4]]
    assert small[0].bias.tolist() == [7, 9]
    assert small[2].weight.tolist() == [[1, 2], [3, 0]]
    assert small[2].bias.tolist() == [30.5, -2.75]
    assert small.kept_units["0"].outputs.tolist() == small.kept_units["2"].inputs.tolist() == [0, 4]
    expand(small, model)
    assert model[0].weight.tolist() == [[1, 2], [0, 0], [0, 0], [0, 0], [0, 4]]
    assert model[0].bias.tolist() == [7, 0, 0, 0, 9]
    assert model[2].weight.tolist() == [[1, 0, 0, 0, 2], [3, 0, 0, 0, 0]]
    assert model[2].bias.tolist() == [30.5, -2.75]


def test_folding_makes_constants_further_on_and_dropping_makes_unread_units_further_back():
    model = nn.Sequential(
        linear([[1.0], [0], [2]], [0.0, 2, 0]), nn.ReLU(),
        linear([[0.0, 5, 0], [3, 0, 0], [0, 0, 4]], [1.0, 0, 0]), nn.ReLU(),  # unit 0: 5 * 2 + 1 = 11
        linear([[2.0, 1, 0]], [100.0]),  # unit 2 is not read, nor then the one behind it
    )  # fmt: skip
    small = shrink(model)
    assert widths(small) == [1, 1, 1]
    assert [layer.weight.item() for layer in layers(small)] == [1, 3, 1]
    assert [layer.bias.item() for layer in layers(small)] == [0, 0, 122]


def test_a_bias_is_made_only_where_constants_need_one():
    def network(c):
        return nn.Sequential(linear([[1.0], [0]], [1.0, c]), nn.ReLU(), linear([[3.0, 5], [0, 0]]))

    small, model = shrink(network(2.0)), network(2.0)
    assert small[2].bias.tolist() == [10, 0]
    assert small[2].bias.requires_grad
    assert model[2].bias is None
    with pytest.raises(ValueError, match="2 has no bias in the model to take up folded constants"):
        expand(small, model)
    assert model[0].bias.tolist() == [1, 2]
    small[2].bias.data.zero_()
    expand(small, model)
    assert model[0].bias.tolist() == [1, 0]
    assert shrink(network(-2.0))[2].bias is None
    # The constant goes to a unit that is constant by it, and goes: 5 * 2 = 10, times 7.
    deep = nn.Sequential(*network(2.0)[:2], linear([[3.0, 0], [0, 5]]), nn.ReLU(), linear([[1.0, 7]], [0.5]))
    small = shrink(deep)
    assert small[2].bias is None
    assert small[4].bias.tolist() == [70.5]


def test_a_frozen_layer_gets_a_frozen_bias():
    model = nn.Sequential(linear([[1.0], [0]], [1.0, 2]), linear([[3.0, 5]])).requires_grad_(False)
    assert shrink(model)[1].bias.tolist() == [10]
    assert not any(p.requires_grad for p in shrink(model).parameters())


@pytest.mark.parametrize("c", [0.0, 2.0])
@pytest.mark.parametrize(
    ("options", "pads"),
    [
        ({}, False),
        ({"padding": 1}, True),
        ({"padding": (0, 1)}, True),
        ({"padding": "same"}, True),
        ({"padding": "valid"}, False),
        ({"padding": 1, "padding_mode": "reflect"}, False),
        ({"padding": 1, "padding_mode": "replicate"}, False),
        ({"padding": "same", "padding_mode": "circular"}, False),
    ],
    ids=str,
)
def test_padding_with_zeros_keeps_a_constant_that_is_not_zero(options, pads, c):
    model = nn.Sequential(
        conv([[1.0], [0]], [0.0, c]), nn.ReLU(), conv([[1.0, 10]], [0.5], size=3, **options)
    )  # fmt: skip
    small = shrink(model)
    kept = pads and c != 0
    assert widths(small) == [1 + kept, 1]
    assert small[2].bias.item() == (0.5 if kept else 0.5 + 9 * 10 * c)
    same(small, model, torch.randn(2, 1, 5, 5, dtype=torch.float64))


def test_same_padding_of_a_kernel_of_one_pads_nothing():
    model = nn.Sequential(conv([[1.0], [0]], [0.0, 2]), conv([[1.0, 1]], [0.0], padding="same"))
    assert widths(shrink(model)) == [1, 1]


@pytest.mark.parametrize("c", [0.0, 2.0])
@pytest.mark.parametrize(
    ("pool", "mixes"),
    [
        (nn.AvgPool2d(2), False),
        (nn.AvgPool2d(2, padding=1), True),
        (nn.AvgPool2d(2, padding=(0, 1)), True),
        (nn.AvgPool2d(2, padding=1, count_include_pad=False), False),
        (nn.AvgPool2d(2, ceil_mode=True), False),
        (nn.AvgPool2d(2, divisor_override=3), True),
        (nn.MaxPool2d(2, padding=1), False),
        (nn.AdaptiveAvgPool2d(3), False),
        (nn.AdaptiveMaxPool2d((2, 3)), False),
    ],
    ids=str,
)
def test_pooling_that_counts_its_padding_keeps_a_constant_that_is_not_zero(pool, mixes, c):
    model = nn.Sequential(conv([[1.0], [0]], [0.0, c]), pool, conv([[1.0, 10]], [0.5]))
    small = shrink(model)
    assert widths(small) == [1 + (mixes and c != 0), 1]
    same(small, model, torch.randn(2, 1, 5, 5, dtype=torch.float64))


def test_through_flatten_a_filter_lives_while_one_position_is_read():
    """Filters of 4 positions: 0 is read at its last one only, 1 is constant 3, 2 is read nowhere."""
    model = nn.Sequential(
        conv([[1.0], [0], [1]], [0.0, 3, 0]), nn.Flatten(),
        linear([[0.0, 0, 0, 2, 1, 1, 0, 5, 0, 0, 0, 0]], [0.5]),
    )  # fmt: skip
    small = shrink(model)
    assert widths(small) == [1, 1]
    assert small[2].weight.tolist() == [[0, 0, 0, 2]]
    assert small[2].bias.tolist() == [0.5 + 3 * (1 + 1 + 5)]
    assert small.kept_units["2"].inputs.tolist() == [0, 1, 2, 3]
    same(small, model, torch.randn(2, 1, 2, 2, dtype=torch.float64))
    small[2].weight.data = torch.tensor([[6.0, 7, 8, 9]]).double()
    expand(small, model)
    assert model[2].weight.tolist() == [[6, 7, 8, 9, *[0] * 8]]


def test_norms_are_cut_and_applied_to_constants():
    """The constant 5 becomes 2 * (5 - 3) / sqrt(4) + 1 = 3 (eps is next to nothing)."""
    norm = nn.BatchNorm1d(3, eps=1e-15, dtype=torch.float64)
    for tensor, values in zip(
        (norm.running_mean, norm.running_var, norm.weight.data, norm.bias.data),
        ([1, 3, 7], [1, 4, 9], [3, 2, 6], [4, 1, 5]),
        strict=True,
    ):
        tensor.copy_(torch.tensor(values))
    norm.num_batches_tracked.fill_(12)
    front = nn.BatchNorm1d(2, dtype=torch.float64)
    model = nn.Sequential(
        front, linear([[1.0, 1], [0, 0], [2, 0]], [0.0, 5, 0]), norm, linear([[1.0, 100, 1]], [0.5]),
        nn.BatchNorm1d(1, dtype=torch.float64),
    )  # fmt: skip
    small = shrink(model)
    assert small[3].bias.item() == pytest.approx(300.5)
    assert (small[2].num_features, small[0].num_features, small[4].num_features) == (2, 2, 1)
    assert small[2].running_mean.tolist() == [1, 7]
    assert small[2].running_var.tolist() == [1, 9]
    assert small[2].weight.tolist() == [3, 6]
    assert small[2].bias.tolist() == [4, 5]
    assert small[2].num_batches_tracked.item() == 12
    x = torch.randn(8, 2, dtype=torch.float64)
    same(small, model, x)
    train(small, x, steps=2)
    expand(small, model)
    same(small, model, x)
    assert model[2].weight[1] == model[2].bias[1] == model[2].running_mean[1] == 0
    assert model[2].running_var[1] == 1
    assert model[2].num_batches_tracked.item() == 14
    torch.testing.assert_close(model[0].running_mean, small[0].running_mean)
    torch.testing.assert_close(model[4].running_var, small[4].running_var)


def test_a_norm_after_flatten_is_cut_by_positions():
    norm = nn.BatchNorm1d(4, eps=0, affine=False, dtype=torch.float64)
    norm.running_mean.copy_(torch.tensor([1.0, 2, 3, 4]))
    model = nn.Sequential(
        conv([[1.0], [0]], [0.0, 5], dims=1), nn.Flatten(), norm, nn.ReLU(), linear([[1.0, 1, 1, 10]], [0.0])
    )
    small = shrink(model)
    assert small[2].running_mean.tolist() == [1, 2]
    assert small[4].bias.item() == (5 - 3) + 10 * (5 - 4)
    same(small, model, torch.randn(3, 1, 2, dtype=torch.float64))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_is_applied_to_constants(activation):
    model = nn.Sequential(
        linear([[1.0], [0], [0]], [0.0, -1.5, 7]), activation(), linear([[1.0, 2, 3]], [0.0])
    )
    small = shrink(model)
    c = activation()(torch.tensor([-1.5, 7], dtype=torch.float64))
    assert widths(small) == [1, 1]
    assert small[2].bias.item() == pytest.approx((2 * c[0] + 3 * c[1]).item())
    same(small, model, torch.randn(4, 1, dtype=torch.float64))


def test_dropout_does_not_touch_constants():
    model = nn.Sequential(linear([[1.0], [0]], [0.0, 2]), nn.Dropout(0.9), linear([[1.0, 1]], [0.0])).train()
    assert shrink(model)[2].bias.item() == 2
    assert shrink(model)[1].training


def test_a_dead_layer_keeps_one_unit():
    model = nn.Sequential(
        linear([[1.0, 1], [1, 2]], [0.0, 0]), nn.Tanh(),
        linear([[0.0, 0], [0, 0], [0, 0]], [1.0, 2, 3]), nn.ReLU(),
        linear([[1.0, 2, 3], [4, 5, 6]], [0.0, 1]),
    )  # fmt: skip
    before = nonzeros(model)
    small = shrink(model)
    assert widths(small) == [1, 1, 2]
    assert small[4].weight.tolist() == [[0], [0]]
    assert small[4].bias.tolist() == [14, 33]
    x = torch.randn(4, 2, dtype=torch.float64)
    same(small, model, x)
    expand(small, model)
    same(small, model, x)
    assert nonzeros(model) < before


def test_a_network_of_zeros_is_its_last_bias():
    model = models.create("lenet5", 0)
    for layer in layers(model):
        layer.weight.data.zero_()
    small = shrink(model)
    assert widths(small) == [1, 1, 1, 10]
    assert size(small) == 25 + 25 + 16 + 10
    same(small, model, torch.randn(2, 1, 28, 28))


def test_nothing_of_use_is_left_before_a_layer_of_zeros():
    model = models.create("lenet300", 0)
    model.fc3.weight.data.zero_()
    small = shrink(model)
    assert widths(small) == [1, 1, 10]
    assert nonzeros(small) == 0
    same(small, model, torch.randn(2, 1, 28, 28))


def test_the_last_layer_and_the_inputs_stay():
    model = nn.Sequential(nn.Flatten(), linear([[0.0, 0, 0], [0, 0, 1]], [1.0, 2]), nn.ReLU())
    small = shrink(model)
    assert small[1].weight.tolist() == [[0, 0, 0], [0, 0, 1]]
    assert shrink(nn.Sequential(nn.ReLU()))(torch.tensor([-1.0])).item() == 0
