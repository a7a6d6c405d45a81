"""Shrinking: what the small network keeps of the large one, and the way back by steps."""

import copy
import pickle
from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize
from unit.shrinking import (
    layers,
    linear,
    masked,
    nonzeros,
    pruned,
    same,
    train,
    widths,
)

from admm_lib import bake, models
from admm_lib.holding import hold, mask_of, original
from admm_lib.parametrizations import Constant, Mask
from admm_lib.shrink import expand, shrink


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
