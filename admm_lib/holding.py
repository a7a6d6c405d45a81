"""Tensors of a network put under a constraint, asked for what holds them, and made plain again."""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from .parametrizations import Mask


def original(module: nn.Module, tensor_name: str) -> nn.Parameter:
    """The parameter that the optimizer sees: `module.weight`, or what stands behind its constraint; behind
    one of torch's own that has several, the module that holds them.
    """
    if parametrize.is_parametrized(module, tensor_name):
        behind = module.parametrizations[tensor_name]
        return getattr(behind, "original", behind)
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
    plain = getattr(module, tensor_name)
    plain.copy_(weight)
    plain.grad = None  # of the weight; what trains from here on may have another form
    shape = plain.shape
    parametrize.register_parametrization(module, tensor_name, constraint)
    _renew(module.parametrizations[tensor_name], "original", shape)


def hold_tied(owners: list[tuple[nn.Module, str]], weight: Tensor, constraint: nn.Module) -> None:
    """Hold one tensor that several modules share; what trains behind it stays shared."""
    first, *others = owners
    hold(*first, weight, constraint)
    for module, tensor_name in others:
        # Its parameter is the first one's, which has taken on the form of what trains, a codebook's say.
        release(module, tensor_name)
        setattr(module, tensor_name, nn.Parameter(weight.clone(), requires_grad=weight.is_floating_point()))
        hold(module, tensor_name, weight, constraint)
        module.parametrizations[tensor_name].original = first[0].parametrizations[first[1]].original


def release(module: nn.Module, tensor_name: str) -> None:
    """Make one tensor a plain parameter again, with the values it shows now."""
    if parametrize.is_parametrized(module, tensor_name):
        _own_class(module)
        shape = getattr(original(module, tensor_name), "shape", None)
        parametrize.remove_parametrizations(module, tensor_name, leave_parametrized=True)
        _renew(module, tensor_name, shape)


def _renew(owner: nn.Module, name: str, shape: torch.Size | None) -> None:
    """Put another parameter in the place of one that has changed its shape, and mark the old one.

    torch changes the parameter itself. An optimizer that knows it has moments of the old shape, and a fused
    step would read and write beyond their end. Without a gradient the old one is left out of every step.
    """
    old = getattr(owner, name)
    if isinstance(old, nn.Parameter) and shape not in (None, old.shape):
        setattr(owner, name, nn.Parameter(old.detach(), requires_grad=old.requires_grad))
        old.replaced = True


def check_knows_all(optimizer: torch.optim.Optimizer | None) -> None:
    """Raise ValueError where it was made before a weight got, or lost, what trains in its place."""
    groups = optimizer.param_groups if optimizer else ()
    if any(getattr(each, "replaced", False) for group in groups for each in group["params"]):
        raise ValueError(
            "the optimizer is older than a finalize() or bake() that put something else in the place of a "
            "weight, such as a codebook: make it anew, of model.parameters()"
        )


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

    >>> model = nn.Linear(4, 3)
    >>> al.ADMM(model, {"weight": al.Sparse(keep=5)}).finalize()
    >>> [*model.state_dict()], [*al.bake(model).state_dict()]
    (['bias', 'parametrizations.weight.original', 'parametrizations.weight.0.mask'], ['bias', 'weight'])
    """
    shared: dict[int, list[tuple[nn.Module, str]]] = {}  # by what trains behind a tensor: who has it
    for module in model.modules():
        for tensor_name in list(getattr(module, "parametrizations", ())):
            shared.setdefault(id(original(module, tensor_name)), []).append((module, tensor_name))
    for (first, first_name), *others in shared.values():
        for module, tensor_name in others:  # releasing one changes what is behind it
            behind = original(module, tensor_name)
            apart = nn.Parameter(behind.detach().clone(), requires_grad=behind.requires_grad)
            module.parametrizations[tensor_name].original = apart
        release(first, first_name)
        for module, tensor_name in others:
            release(module, tensor_name)
            setattr(module, tensor_name, getattr(first, first_name))
    return model
