"""How a finished constraint is held: masks, constants, taking them off again."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from admm_lib import bake
from admm_lib.holding import hold, mask_of, original, release
from admm_lib.parametrizations import Constant, Mask

MASK = torch.tensor([[True, False, True], [False, True, False]])


def layer():
    torch.manual_seed(0)
    return nn.Linear(3, 2)


def pruned():
    linear = layer()
    hold(linear, "weight", torch.where(MASK, linear.weight.detach(), 0), Mask(MASK))
    return linear


@pytest.mark.parametrize("poison", [float("inf"), float("nan"), -float("inf")])
def test_a_mask_holds_by_where_and_not_by_multiplication(poison):
    held = Mask(torch.tensor([True, False]))
    assert held(torch.tensor([1.0, poison])).tolist() == [1, 0]
    assert held.right_inverse(torch.tensor([1.0, poison])).tolist() == [1, 0]


def test_a_mask_is_a_copy_and_no_parameter():
    values = MASK.clone()
    held = Mask(values)
    values.zero_()
    assert torch.equal(held.mask, MASK)
    assert list(held.parameters()) == []
    assert Mask(torch.tensor([0.5, 0.0])).mask.tolist() == [True, False]


def test_pruned_weights_get_no_gradient():
    linear = pruned()
    linear(torch.ones(4, 3)).sum().backward()
    gradient = original(linear, "weight").grad
    assert torch.equal(gradient != 0, MASK)
    assert gradient[MASK].tolist() == [4.0] * 3


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda parameters: torch.optim.Adam(parameters, lr=0.1, weight_decay=0.1),
        lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.1),
    ],
    ids=["Adam", "SGD"],
)
@pytest.mark.parametrize("fresh", [True, False])
def test_retraining_keeps_the_mask(optimizer, fresh):
    """Also with an optimizer whose momentum still pushes the pruned weights."""
    linear = layer()
    steps = optimizer(linear.parameters())
    x = torch.randn(8, 3)

    def train():
        for _ in range(5):
            linear(x).square().sum().backward()
            steps.step()
            steps.zero_grad()

    train()
    hold(linear, "weight", torch.where(MASK, linear.weight.detach(), 0), Mask(MASK))
    before = linear.weight.detach().clone()
    steps = optimizer(linear.parameters()) if fresh else steps
    train()
    assert torch.equal(linear.weight != 0, MASK)
    assert bool((linear.weight != before)[MASK].all())  # the survivors did train


def test_hold_replaces_and_never_stacks():
    linear = pruned()
    parameter = original(linear, "weight")
    for keep in (MASK, torch.ones_like(MASK), torch.zeros_like(MASK)):
        hold(linear, "weight", torch.where(keep, 2.0, 0.0), Mask(keep))
        assert len(linear.parametrizations.weight) == 1
        assert torch.equal(linear.weight, torch.where(keep, 2.0, 0.0))
        assert torch.equal(mask_of(linear, "weight"), keep)
    assert original(linear, "weight") is parameter  # an optimizer made earlier still knows it
    hold(linear, "weight", torch.ones(2, 3), Constant(torch.ones(2, 3)))
    assert mask_of(linear, "weight") is None


def test_a_constant_stays():
    linear = layer()
    value = torch.full((2, 3), 0.5)
    hold(linear, "weight", value, Constant(value))
    value.zero_()
    linear(torch.ones(1, 3)).sum().backward()
    assert original(linear, "weight").grad is None
    original(linear, "weight").data.fill_(7)
    assert bool((linear.weight == 0.5).all())
    bake(linear)
    assert type(linear.weight) is nn.Parameter
    assert bool((linear.weight == 0.5).all())


def test_original_and_mask_of_a_free_tensor():
    linear = layer()
    assert original(linear, "weight") is linear.weight
    assert mask_of(linear, "weight") is None
    release(linear, "weight")  # nothing to release
    assert mask_of(pruned(), "bias") is None


def test_bake_makes_plain_what_is_shown():
    model = nn.Sequential(pruned(), nn.ReLU(), nn.Linear(2, 2))
    plain_names = set(nn.Sequential(layer(), nn.ReLU(), nn.Linear(2, 2)).state_dict())
    hold(model[0], "bias", torch.ones(2), Mask(torch.tensor([True, False])))
    original(model[0], "weight").data += 1  # also where it is masked
    x = torch.randn(4, 3)
    expected = model(x)
    with pytest.raises(RuntimeError, match="state_dict"):
        pickle.dumps(model)
    assert bake(model) is model
    assert not parametrize.is_parametrized(model[0])
    assert type(model[0]) is nn.Linear
    assert set(model.state_dict()) == plain_names
    assert torch.equal(model(x), expected)
    assert model[0].bias.tolist() == [1, 0]
    assert all(p.requires_grad and p.is_leaf for p in model.parameters())
    assert torch.equal(pickle.loads(pickle.dumps(model))(x), expected)
    assert bake(bake(model)) is model


@pytest.mark.parametrize("change", ["bake", "hold again", "hold another"])
@pytest.mark.parametrize("changed", ["the copy", "the original"])
def test_a_deep_copy_is_held_on_its_own(change, changed):
    """torch lets deep copies share the class that it edits to parametrize one of them."""
    first = pruned()
    second = copy.deepcopy(first)
    touched, other = (second, first) if changed == "the copy" else (first, second)
    shown = other.weight.detach().clone()
    if change == "bake":
        bake(touched)
        assert type(touched) is nn.Linear
    elif change == "hold again":
        hold(touched, "weight", torch.ones(2, 3), Mask(torch.ones_like(MASK)))
        assert bool((touched.weight == 1).all())
    else:
        hold(touched, "bias", torch.zeros(2), Mask(torch.zeros(2)))
        assert touched.bias.tolist() == [0, 0]
    assert torch.equal(other.weight, shown)
    assert torch.equal(mask_of(other, "weight"), MASK)
    assert type(other.bias) is nn.Parameter
    assert torch.equal(copy.deepcopy(other).weight, shown)
    assert type(bake(other)) is nn.Linear
    assert torch.equal(other.weight, shown)


def test_a_state_dict_carries_the_mask():
    first, second = pruned(), layer()
    hold(second, "weight", torch.ones(2, 3), Mask(torch.ones_like(MASK)))
    second.load_state_dict(first.state_dict())
    assert torch.equal(second.weight, first.weight)
    assert torch.equal(mask_of(second, "weight"), MASK)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_any_float_dtype(dtype):
    linear = pruned().to(dtype)
    assert linear.weight.dtype == dtype
    assert torch.equal(linear.weight != 0, MASK)
    assert mask_of(linear, "weight").dtype == torch.bool
