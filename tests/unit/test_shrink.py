"""Shrinking: the same outputs from fewer units, and the way back."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from unit.shrinking import (
    check_shrunk,
    conv,
    layers,
    masked,
    networks,
    nonzeros,
    often,
    pruned,
    same,
    size,
    train,
    widths,
)

from admm_lib.holding import original
from admm_lib.shrink import expand, shrink


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
