"""Shrinking: the same outputs from fewer units, what goes and what stays by hand, and the way back."""

import copy
import pickle
from collections import OrderedDict

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrize

from admm_lib import bake, models
from admm_lib.holding import hold, mask_of, original
from admm_lib.parametrizations import Constant, Mask
from admm_lib.projections import top_k
from admm_lib.shrink import expand, pack, runs_in_turn, shrink

often = settings(max_examples=60, deadline=None, derandomize=True, database=None)
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
ACTIVATIONS = (
    nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.Hardtanh, nn.ReLU6, nn.Identity,
)  # fmt: skip


def of(kind, dims):
    return getattr(nn, f"{kind}{dims}d")


def layers(model):
    return [module for module in model.modules() if isinstance(module, LAYERS)]


def widths(model):
    return [len(layer.weight) for layer in layers(model)]


def size(model):
    return sum(layer.weight.numel() for layer in layers(model))


def nonzeros(model):
    return sum(int((layer.weight != 0).sum()) for layer in layers(model))


def same(first, second, x, **tolerance):
    first, second = copy.deepcopy(first).eval(), copy.deepcopy(second).eval()
    torch.testing.assert_close(first(x), second(x), **tolerance)


def linear(weight, bias=None):
    weight = torch.tensor(weight, dtype=torch.float64)
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, dtype=torch.float64)
    layer.weight.data = weight
    if bias is not None:
        layer.bias.data = torch.tensor(bias, dtype=torch.float64)
    return layer


def conv(weight, bias=None, dims=2, size=1, **options):
    """A convolution whose kernels are the given numbers, each spread over all entries."""
    weight = torch.tensor(weight, dtype=torch.float64)
    layer = of("Conv", dims)(*weight.shape[::-1], size, bias=bias is not None, dtype=torch.float64, **options)
    layer.weight.data = weight.view(*weight.shape, *[1] * dims).expand_as(layer.weight).clone()
    if bias is not None:
        layer.bias.data = torch.tensor(bias, dtype=torch.float64)
    return layer


def masked(model):
    """Every layer held where it is not zero."""
    for layer in layers(model):
        hold(layer, "weight", layer.weight.detach(), Mask(layer.weight != 0))
    return model


def train(model, x, steps=1):
    model.train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01, momentum=0.9)
    for _ in range(steps):
        model(x).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


# ---- random networks


@st.composite
def networks(draw, convolutions=True):
    """A random network of float64 whose weights are mostly zero, often whole rows and columns of them."""
    torch.manual_seed(draw(st.integers(0, 2**16)))
    parts, dims = [], draw(st.integers(1, 3)) if convolutions else 0
    x = torch.randn(3, draw(st.integers(1, 3)), *[5] * dims)
    for _ in range(draw(st.integers(1, 3)) if convolutions else 0):
        shape = output_shape(parts, x)
        wide = 3 if shape[-1] >= 3 and draw(st.booleans()) else 1
        padding = draw(st.sampled_from([0, 1, "same", "valid"])) if wide > 1 or shape[-1] > 1 else 0
        modes = ["zeros", "zeros", "replicate", "circular", "reflect"][: None if dims < 3 else 4]
        options = {
            "padding": padding,
            "padding_mode": draw(st.sampled_from(modes)),
            "bias": draw(st.booleans()),
        }
        parts.append(of("Conv", dims)(shape[1], draw(st.integers(1, 5)), wide, **options))
        follow = [
            *draw(between(dims, parts[-1].out_channels)),
            *draw(pools(dims, output_shape(parts, x)[-1])),
        ]
        parts += draw(st.permutations(follow))
    if convolutions and draw(st.booleans()):
        parts.append(nn.Flatten())
        parts += draw(between(1, output_shape(parts, x)[1], linear=True))
    if len(output_shape(parts, x)) == 2:
        for _ in range(draw(st.integers(1, 4))):
            width = output_shape(parts, x)[1]
            parts.append(nn.Linear(width, draw(st.integers(1, 6)), bias=draw(st.booleans())))
            parts += draw(between(1, parts[-1].out_features, linear=True))
    model = nn.Sequential(*parts).double()
    randomize(model, draw(st.sampled_from([0.0, 0.1, 0.3, 0.7])))
    if len(parts) > 2 and draw(st.booleans()):
        model = nn.Sequential(nn.Sequential(*parts[:2]), nn.Sequential(nn.Sequential(*parts[2:])))
    return model, x.double()


@torch.no_grad()
def output_shape(parts, x):
    return nn.Sequential(*parts).eval()(x).shape


@st.composite
def between(draw, dims, width, linear=False):
    """Norm, activation, dropout or nothing."""
    found = []
    if draw(st.integers(0, 2)) == 0:
        found.append(of("BatchNorm", dims)(width, affine=draw(st.booleans())))
    if draw(st.booleans()):
        found.append(draw(st.sampled_from(ACTIVATIONS))())
    if draw(st.integers(0, 3)) == 0:
        found.append(nn.Dropout(0.5) if linear else of("Dropout", dims)(0.5))
    return found


@st.composite
def pools(draw, dims, size):
    kind = draw(
        st.sampled_from(["", "", "AdaptiveMax", "AdaptiveAvg", "Max", "Avg"][: None if size > 1 else 4])
    )
    if not kind:
        return []
    if kind.startswith("Adaptive"):
        return [of(f"{kind}Pool", dims)(2)]
    options = {"padding": draw(st.integers(0, 1)), "ceil_mode": draw(st.booleans())}
    if kind == "Avg":
        options["count_include_pad"] = draw(st.booleans())
        if dims > 1:
            options["divisor_override"] = draw(st.sampled_from([None, None, 3]))
    return [of(f"{kind}Pool", dims)(2, 1, **options)]


@torch.no_grad()
def randomize(model, density):
    for module in model.modules():
        if isinstance(module, LAYERS):
            weight = module.weight
            weight.copy_(torch.randint(1, 4, weight.shape) * torch.randn(weight.shape).sign())
            weight.mul_(torch.rand(weight.shape) < density)
            weight[torch.rand(weight.shape[0]) < 0.2] = 0
            weight[:, torch.rand(weight.shape[1]) < 0.2] = 0
            if module.bias is not None:
                module.bias.copy_(torch.randn(module.bias.shape) * (torch.rand(module.bias.shape) < 0.5))
        elif isinstance(module, NORMS):
            module.running_mean.copy_(
                torch.randn(module.num_features) * (torch.rand(module.num_features) < 0.5)
            )
            module.running_var.uniform_(0.5, 2)
            if module.affine:
                module.weight.normal_()
                module.bias.copy_(torch.randn(module.num_features) * (torch.rand(module.num_features) < 0.5))


def check_shrunk(model, x):
    before, text = copy.deepcopy(model.state_dict()), repr(model)
    small = shrink(model)
    same(small, model, x)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0, equal_nan=True)
    assert repr(model) == text
    assert all(new <= old for new, old in zip(widths(small), widths(model), strict=True))
    assert nonzeros(small) <= nonzeros(model)
    assert [name for name, _ in small.named_modules()] == [name for name, _ in model.named_modules()]
    assert repr(shrink(small)) == repr(small)  # there was no more to find
    return small


@often
@given(networks(convolutions=False))
def test_linear_networks(drawn):
    model, x = drawn
    small = check_shrunk(model, x)
    for layer, following in zip(layers(small), layers(small)[1:], strict=False):
        if len(layer.weight) > 1:
            assert bool((layer.weight != 0).any(1).all())  # no constant unit is left,
            assert bool((following.weight != 0).any(0).all())  # nor one that nothing reads


@often
@given(networks())
def test_convolutional_networks(drawn):
    check_shrunk(*drawn)


@often
@given(networks(), st.booleans())
def test_there_and_back_again(drawn, hold_masks):
    model, x = drawn
    if hold_masks:
        masked(model)
    small = shrink(model)
    for tensor in [*small.parameters(), *(b for n, b in small.named_buffers() if n.endswith("running_mean"))]:
        tensor.data += torch.randn_like(tensor)
    pairs = zip(layers(small), layers(model), strict=True)
    made = [mine.bias for mine, full in pairs if mine.bias is not None and full.bias is None]
    if made:
        before = copy.deepcopy(model.state_dict())
        with pytest.raises(ValueError, match="has no bias in the model to take up folded constants"):
            expand(small, model)
        torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
        for bias in made:
            bias.data.zero_()
    before = nonzeros(model)
    expand(small, model)
    same(small, model, x, rtol=1e-6, atol=1e-6)
    assert nonzeros(model) == nonzeros(small)
    assert nonzeros(model) <= before or not hold_masks


# ---- the networks of the papers


def pruned(name, ratio, by, seed=0):
    """A network with 1 weight in `ratio` left in each layer: the largest, or any."""
    model = models.create(name, seed)
    with torch.no_grad():
        for layer in layers(model):
            scores = layer.weight if by == "magnitude" else torch.randn_like(layer.weight)
            keep = max(5, int(layer.weight.numel() / ratio))
            layer.weight.mul_(top_k(scores, keep) != 0)
    return masked(model)


@pytest.mark.parametrize("by", ["magnitude", "random"])
@pytest.mark.parametrize("ratio", [71, 350])
@pytest.mark.parametrize("name", ["lenet5", "lenet300"])
def test_lenets_shrink_retrain_and_come_back(name, ratio, by):
    model = pruned(name, ratio, by)
    x = torch.randn(16, 1, 28, 28)
    small = shrink(model)
    same(small, model, x, rtol=1e-4, atol=1e-5)
    assert size(small) < size(model) / 3
    assert nonzeros(small) <= nonzeros(model)
    assert widths(small)[-1] == 10
    assert not hasattr(small, "architecture")
    assert model.architecture[0] == name
    before = nonzeros(model)
    train(small, x, steps=3)
    assert bool((small(x) - model(x)).abs().max() > 1e-4)
    expand(small, model)
    same(small, model, x, rtol=1e-4, atol=1e-5)
    assert nonzeros(model) <= before
    again = shrink(model)
    assert all(new <= old for new, old in zip(widths(again), widths(small), strict=True))


def test_the_small_network_is_used_like_the_old_one():
    model = pruned("lenet5", 71, "magnitude").half().eval()
    model.conv2.train()
    for frozen in (original(model.conv1, "weight"), model.fc1.bias):
        frozen.requires_grad_(False)
    small = shrink(model)
    assert list(small._modules) == list(model._modules)
    for path, module in small.named_children():
        full = model.get_submodule(path)
        assert module.training == full.training
        assert {n: (p.dtype, p.requires_grad) for n, p in module.named_parameters()} == {
            n: (p.dtype, p.requires_grad) for n, p in full.named_parameters()
        }
    for layer, full in ((small.conv1, model.conv1), (small.conv2, model.conv2)):
        assert layer.weight.is_contiguous(memory_format=torch.channels_last)
        assert layer.weight.stride(1) == original(layer, "weight").stride(1) == full.weight.stride(1) == 1
        assert (layer.out_channels, layer.in_channels) == layer.weight.shape[:2]
    assert (small.fc1.out_features, small.fc1.in_features) == small.fc1.weight.shape
    assert small.conv2.weight.shape[1] > 1
    for dense in (nn.Conv2d(1, 3, 3), nn.Conv2d(2, 3, 3)):
        assert shrink(nn.Sequential(dense))[0].weight.stride() == dense.weight.stride()
    expand(small, model)
    assert model.conv2.weight.stride(1) == 1


def test_volumes_keep_channels_last_too():
    layer = conv([[1.0, 2], [0, 1]], dims=3, size=2).to(memory_format=torch.channels_last_3d)
    small = shrink(nn.Sequential(layer, nn.ReLU(), conv([[1.0, 0]], dims=3)))
    assert small[0].weight.shape == (1, 2, 2, 2, 2)
    assert small[0].weight.is_contiguous(memory_format=torch.channels_last_3d)


# ---- by hand


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


def test_a_dense_network_is_only_copied():
    model = models.create("lenet300", 1)
    small = shrink(model)
    assert repr(small) == repr(model)
    assert {p.data_ptr() for p in small.parameters()}.isdisjoint(p.data_ptr() for p in model.parameters())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_any_float_dtype(dtype):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(4, 8), nn.BatchNorm1d(8), nn.GELU(), nn.Linear(8, 5, bias=False), nn.Tanh(), nn.Linear(5, 2)
    ).to(dtype)
    model[0].weight.data[3:] = 0
    model[3].weight.data[0, :] = 0
    model[3].weight.data[1, :3] = 0
    small = shrink(model)
    assert widths(small) == [3, 3, 2]
    assert {p.dtype for p in small.parameters()} == {dtype}
    same(small, model, torch.randn(3, 4).to(dtype), rtol=0.02, atol=0.02)


def test_children_keep_their_names_in_nested_networks():
    inner = nn.Sequential(OrderedDict(fc=linear([[1.0], [0]], [0.0, 1]), act=nn.ReLU()))
    inner.architecture = ("part", {})
    model = nn.Sequential(OrderedDict(body=inner, head=nn.Sequential(linear([[1.0, 2]], [0.0]))))
    small = shrink(model)
    assert small.body.fc.out_features == 1
    assert small.head[0].bias.item() == 2
    assert set(small.kept_units) == {"body.fc", "head.0"}
    assert not hasattr(small.body, "architecture")
    expand(small, model)
    assert model.body.fc.bias.tolist() == [0, 0]


def test_one_activation_may_serve_twice():
    relu = nn.ReLU(inplace=True)
    model = nn.Sequential(
        linear([[1.0], [0]], [0.0, -1]), relu, linear([[1.0, 1]], [-5.0]), relu, linear([[3.0]])
    )
    assert widths(shrink(model)) == [1, 1, 1]
    same(shrink(model), model, torch.tensor([[9.0]]).double())


# ---- constraints


def test_masks_are_cut_and_go_on_holding():
    model = nn.Sequential(
        linear([[1.0, 0], [0, 0], [3, 4]], [0.0, 5, 0]), nn.Tanh(), linear([[1.0, 2, 0], [0, 0, 6]], [0.0, 0])
    )
    masked(model)
    small = shrink(model)
    assert mask_of(small[0], "weight").tolist() == [[True, False], [True, True]]
    assert mask_of(small[2], "weight").tolist() == [[True, False], [False, True]]
    assert mask_of(model[0], "weight").shape == (3, 2)
    x = torch.randn(8, 2, dtype=torch.float64)
    before = small[0].weight.detach().clone()
    train(small, x, steps=5)
    assert torch.equal(small[0].weight != 0, mask_of(small[0], "weight"))
    assert torch.equal(small[2].weight != 0, mask_of(small[2], "weight"))
    assert bool((small[0].weight != before)[mask_of(small[0], "weight")].all())
    expand(small, model)
    same(small, model, x)
    assert nonzeros(model) == 5
    assert mask_of(model[0], "weight").tolist() == [[True, False], [False, False], [True, True]]
    assert type(bake(small)[0]) is nn.Linear
    assert parametrize.is_parametrized(model[0])


def test_what_lies_under_a_mask_does_not_count():
    model = nn.Sequential(linear([[1.0], [0]], [0.0, 0]), linear([[1.0, 1]], [0.0]))
    masked(model)
    original(model[0], "weight").data += 1  # as momentum does
    assert widths(shrink(model)) == [1, 1]


def test_weights_outside_the_mask_are_not_taken_back():
    model = masked(nn.Sequential(linear([[1.0, 0], [0, 0]], [0.0, 1]), linear([[1.0, 1]], [0.0])))
    small = bake(shrink(model))
    expand(small, model)
    small[0].weight.data.fill_(2)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=r"0\.weight has left the mask of the model"):
        expand(small, model)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    expand(small, bake(model))
    assert model[0].weight.tolist() == [[2, 2], [0, 0]]


def unhappy(change):
    model = nn.Sequential(linear([[1.0, 1]], [0.0]), linear([[1.0]], [0.0]))
    change(model[1])
    return model


@pytest.mark.parametrize(
    "change",
    [
        lambda layer: hold(layer, "weight", layer.weight.detach(), Constant(layer.weight)),
        lambda layer: hold(layer, "bias", layer.bias.detach(), Mask(layer.bias == 0)),
        lambda layer: parametrize.register_parametrization(
            masked(layer), "weight", Mask(torch.ones_like(layer.weight))
        ),
        nn.utils.parametrizations.weight_norm,
        lambda layer: nn.utils.prune.l1_unstructured(layer, "weight", 0),
    ],
    ids=["constant", "bias", "two masks", "weight norm", "torch's pruning"],
)
def test_anything_else_that_holds_is_refused(change):
    from torch.nn.utils import prune  # noqa: F401 (it is not imported by torch)

    small = shrink(unhappy(lambda layer: None))
    for refused in (shrink, lambda model: expand(small, model)):
        with pytest.raises(ValueError, match=r"1 is held by more than a mask of its weight: admm_lib\.bake"):
            refused(unhappy(change))


# ---- copies, and what does not fit


@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, lambda small: pickle.loads(pickle.dumps(bake(small)))],
    ids=["deepcopy", "pickle"],
)
def test_a_copy_still_expands(copied):
    model = pruned("lenet300", 350, "magnitude")
    x = torch.randn(4, 1, 28, 28)
    small = shrink(model)
    other = copied(small)
    for layer in layers(other):
        layer.bias.data += 1
    expand(other, model)
    same(other, model, x, rtol=1e-4, atol=1e-5)
    expand(small, model)
    same(small, model, x, rtol=1e-4, atol=1e-5)


def test_shrinking_twice_comes_back_step_by_step():
    model = pruned("lenet300", 350, "magnitude")
    small = shrink(model)
    original(small.fc2, "weight").data[: len(small.fc2.weight) // 2] = 0
    smaller = shrink(small)
    assert widths(smaller)[1] < widths(small)[1]
    with pytest.raises(ValueError, match="do not fit"):
        expand(smaller, model)
    x = torch.randn(4, 1, 28, 28)
    train(smaller, x)
    expand(smaller, small)
    expand(small, model)
    same(smaller, model, x, rtol=1e-4, atol=1e-5)


def test_networks_that_do_not_fit_are_not_written():
    model = pruned("lenet300", 350, "magnitude")
    small = shrink(model)
    before = copy.deepcopy(model.state_dict())
    for first, second, reason in (
        (model, model, "does not come from shrink"),
        (nn.ReLU(), model, "does not come from shrink"),
        (small, models.create("lenet5"), "do not fit"),
        (small, small, "do not fit"),
        (small, nn.Sequential(*model), "do not fit"),  # other names
        (small, nn.Sequential(OrderedDict(model.named_children(), act1=nn.Tanh())), "do not fit"),
        (small, nn.Sequential(OrderedDict(model.named_children(), act3=nn.ReLU())), "do not fit"),
        (small, nn.Sequential(nn.Linear(2, 2)), "do not fit"),
    ):
        with pytest.raises(ValueError, match=reason):
            expand(first, second)
    wider = copy.deepcopy(small)
    wider.fc3.bias.data = torch.ones(11)
    lacking = copy.deepcopy(small)
    lacking.fc1.bias = None
    for changed, name in ((wider, "fc3.bias"), (lacking, "fc1.bias")):
        with pytest.raises(ValueError, match=f"{name} does not fit: its size has changed since shrink"):
            expand(changed, model)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    expand(small, model)


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
