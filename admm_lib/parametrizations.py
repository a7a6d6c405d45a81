"""How a satisfied constraint is held while the network trains on.

A constraint is held by `torch.nn.utils.parametrize`: the layer keeps a free tensor, `original`, and shows
the constrained weight computed from it. Optimizers then need no special care, and neither do users.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class Mask(nn.Module):
    r"""Weights outside the mask are zero: W = where(mask, original, 0).

    By `where` and not by multiplication, because inf * 0 is NaN. The gradient of a pruned weight is 0.
    """

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask.detach().bool().clone())

    def forward(self, original: Tensor) -> Tensor:
        return torch.where(self.mask, original, 0)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The original whose constrained form is `weight`, pruned entries zeroed."""
        return self(weight)


class Constant(nn.Module):
    """The weight is a fixed tensor: nothing of it trains."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("value", weight.detach().clone())

    def forward(self, original: Tensor) -> Tensor:
        return self.value

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The original is not looked at; it is kept for its shape."""
        return weight


def original(module: nn.Module, tensor_name: str) -> nn.Parameter:
    """The parameter that the optimizer sees: `module.weight`, or what stands behind its constraint."""
    if parametrize.is_parametrized(module, tensor_name):
        return module.parametrizations[tensor_name].original
    return getattr(module, tensor_name)


def mask_of(module: nn.Module, tensor_name: str) -> Tensor | None:
    """The mask that holds a tensor, or None where it is free."""
    if parametrize.is_parametrized(module, tensor_name):
        for step in module.parametrizations[tensor_name]:
            if isinstance(step, Mask):
                return step.mask
    return None


@torch.no_grad()
def hold(module: nn.Module, tensor_name: str, weight: Tensor, constraint: nn.Module) -> None:
    """Set the tensor to `weight` and hold it by `constraint`, in place of any earlier constraint."""
    release(module, tensor_name)
    _own_class(module)
    getattr(module, tensor_name).copy_(weight)
    parametrize.register_parametrization(module, tensor_name, constraint)


def release(module: nn.Module, tensor_name: str) -> None:
    """Make one tensor a plain parameter again, with the values it shows now."""
    if parametrize.is_parametrized(module, tensor_name):
        _own_class(module)
        parametrize.remove_parametrizations(module, tensor_name, leave_parametrized=True)


def _own_class(module: nn.Module) -> None:
    """Part a parametrized module from its deep copies.

    torch makes a class per parametrized module and edits that class to add and remove tensors, but
    `copy.deepcopy` shares it: baking a copy would break the model it was copied from.
    """
    if parametrize.is_parametrized(module):
        shared = type(module)
        parts = {key: part for key, part in vars(shared).items() if key not in ("__dict__", "__weakref__")}
        module.__class__ = type(shared.__name__, shared.__bases__, parts)


def bake(model: nn.Module) -> nn.Module:
    """Make every constrained tensor of `model` plain again, values kept, in place; returns the model.

    Needed before pickling, ONNX export, or a state dict with the names of the dense network.
    """
    for module in model.modules():
        for tensor_name in list(getattr(module, "parametrizations", ())):
            release(module, tensor_name)
    return model
