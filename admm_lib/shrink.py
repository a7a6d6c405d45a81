r"""Dead-path elimination: the physically smaller network that computes the same, and the way back.

A unit is a neuron or a filter, x_j = act(sum_i w_ji x_i + b_j). Two passes over the weights, which run no
data, find those that cannot matter:

    forward, first layer to last    all w_ji = 0: x_j is a constant c, so that in every unit k of the next
                                    layer b_k <- b_k + w_kj c and w_kj <- 0 leave the output as it is
    backward, last layer to first   w_kj = 0 in every unit k that stays: nothing reads x_j, and j goes
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrize import type_before_parametrizations as kind_of

from .holding import bake, hold, mask_of, original
from .parametrizations import Mask
from .shrink_graph import shrink_graph
from .shrink_layers import (
    ACTIVATIONS,
    ADVICE,
    DROPOUTS,
    NORMS,
    OTHERS,
    POOLS,
    TENSORS,
    WEIGHTS,
    parts_of,
    shape_of,
)  # fmt: skip
from .storage import reference_weights

_SIZES = {"out_features": 0, "out_channels": 0, "num_features": 0, "in_features": 1, "in_channels": 1}


@dataclass(frozen=True, eq=False)
class Kept:
    """What is left of a layer, or of a norm (which has no inputs): its full shape, and indices into it."""

    shape: tuple[int, ...]
    outputs: Tensor
    inputs: Tensor | None = None

    def index(self, tensor: Tensor) -> tuple[Tensor, ...]:
        """`tensor[index]` is the kept part of a full weight, of a vector, or of a single number."""
        return (self.outputs[:, None], self.inputs) if tensor.dim() > 1 else (self.outputs,) * tensor.dim()


@torch.no_grad()
def shrink(model: nn.Module, inputs: Tensor | tuple[Any, ...] | None = None) -> nn.Module:
    """The same function in eval mode as a smaller network: without the units that cannot matter.

    For batched inputs, (N, features) or (N, channels, ...). The model is not changed. The result has its
    child names, dtype, device, memory format and flags; a layer held by a mask is held by its part of it.
    The last layer's units and at least one of every other layer stay; so does a unit whose constant c != 0
    meets padding with zeros. Folding may give a layer a bias that had none. Raises ValueError, naming the
    module, where it is not understood, does not fit or is held by more than a mask; for tied weights, too.

    That is for nn.Sequential. Any other network, with residual sums, concatenations or depthwise
    convolutions, is traced on `inputs`, a batch or a tuple of the arguments of `forward`, and run on them
    again in the end to compare both, to float tolerance. It comes back without masks, and a channel goes
    where its whole group of coupled layers is dead; see `shrink_graph`. What `inputs` have in common is told
    from constants by noise that is added to them, for a second look. ValueError where it cannot be traced,
    or computes something else.

    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> model[0].weight.data[1] = 0
    >>> [tuple(weight.shape) for weight in al.shrink(model).parameters()]
    [(2, 4), (2,), (2, 2), (2,)]
    """
    if inputs is not None:
        return shrink_graph(model, inputs)
    full = parts_of(model)
    small = bake(copy.deepcopy(model))
    parts = parts_of(small)
    _fold_constants(parts)
    small.kept_units = _kept(parts, _read_units(parts))
    small.reference_weights = reference_weights(model)
    for path, kept in small.kept_units.items():
        _cut(parts[path], kept, full[path])
    for module in small.modules():
        vars(module).pop("architecture", None)  # it is another network now
    return small


def runs_in_turn(model: nn.Module) -> bool:
    """Whether `shrink` needs no inputs, and `expand` and `pack` know the way back."""
    try:
        parts_of(model)
    except ValueError:
        return False
    return True


@torch.no_grad()
def expand(small: nn.Sequential, model: nn.Sequential) -> None:
    """Write `small`, which `shrink(model)` returned, back into `model`; retrained in between, or not.

    Then both compute the same, and what was removed is zero in `model`; its masks stay. Raises ValueError,
    and changes nothing, for a network that does not come from `shrink` or does not fit `model`, or that
    has weights outside a mask of `model` or a bias (from folding) where `model` has none.

    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> model[0].weight.data[1] = 0
    >>> al.expand(al.shrink(model), model)
    >>> model[2].weight.count_nonzero(0).tolist()  # nothing reads the second unit now
    [2, 0, 2]
    """
    kept = getattr(small, "kept_units", None)
    if kept is None:
        raise ValueError("the first network does not come from shrink: expand(shrink(model), model)")
    ours, theirs = parts_of(small), parts_of(model)
    shapes = {path: shape_of(module) for path, module in theirs.items() if shape_of(module)}
    kinds = [[*map(kind_of, parts.values())] for parts in (ours, theirs)]
    if kinds[0] != kinds[1] or shapes != {path: each.shape for path, each in kept.items()}:
        raise ValueError("the networks do not fit: expand into the very model that was shrunk")
    for target, value in [w for p in kept for w in _writes(p, kept[p], ours[p], theirs[p])]:  # all or none
        target.copy_(value)


@torch.no_grad()
def pack(model: nn.Sequential) -> nn.Sequential:
    """The same function with its live units first, and zeros for all that `shrink` drops; in place.

    The order of a layer's units means nothing, and a file says where weights are with fewer bits when they
    all lie in one corner of each matrix. Biases that take up a constant leave their levels, if they had any:
    `allocation.projected` quantizes them again. Returns the model, plain. Raises ValueError as `shrink` and
    `expand` do, and changes nothing then.

    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> model[0].weight.data[0] = 0
    >>> al.pack(model)[0].weight.count_nonzero(1).tolist()
    [4, 4, 0]
    """
    try:
        small, packed = shrink(model), bake(copy.deepcopy(model))
    except ValueError as error:  # there is no packing of a traced network
        raise ValueError(str(error).removesuffix(OTHERS)) from None
    for path, kept in small.kept_units.items():
        first = [None if each is None else torch.arange(len(each)) for each in (kept.outputs, kept.inputs)]
        small.kept_units[path] = Kept(kept.shape, *first)
    expand(small, packed)
    bake(model).load_state_dict(packed.state_dict())
    return model


def _fold_constants(parts: dict[str, nn.Module]) -> None:
    """The forward pass: what constant units give to the next layer moves from its weights to its bias."""
    constants, dims = None, 0  # nothing is known before the first layer
    for path, module in parts.items():
        if constants is not None:
            constants, dims = _carry(constants, dims, path, module)
        if type(module) in WEIGHTS:
            if constants is not None:
                _fold(constants, module)
            bias = torch.zeros(()).to(module.weight) if module.bias is None else module.bias
            constants = torch.where((module.weight == 0).flatten(1).all(1), bias, torch.nan)
            dims = WEIGHTS[type(module)]


def _fold(inputs: Tensor, module: nn.Module) -> None:
    """Move what inputs that are not NaN give to a layer from its weights to its bias."""
    constant, weight = ~inputs.isnan(), module.weight
    moved = weight[:, constant].flatten(1) @ inputs[constant].repeat_interleave(weight[0, 0].numel())
    weight[:, constant] = 0
    if module.bias is not None:
        module.bias += moved
    else:
        module.bias = nn.Parameter(moved, weight.requires_grad)


def _carry(constants: Tensor, dims: int, path: str, module: nn.Module) -> tuple[Tensor, int]:
    """Take one number per unit, NaN where it is not constant, through a module or up to a weight layer.

    `dims` is that of the maps; -1 once flattened, to as many features in a row for each unit as the next
    module with a size says. Raises ValueError where a module does not fit.
    """
    kind, size = type(module), [len(constants), *shape_of(module)[:2]][-1]
    if dims == -1 and shape_of(module):
        constants, dims = constants.repeat_interleave(size // len(constants)), 0
    if kind in ACTIVATIONS:
        constants = module.forward(constants)
    elif kind is nn.Flatten:
        dims = -1 if dims else 0
    elif kind in NORMS and dims in NORMS[kind] and size == len(constants):
        affine = (module.running_mean, module.running_var, module.weight, module.bias)
        constants = F.batch_norm(constants[None], *affine, eps=module.eps)[0]
    elif (POOLS | WEIGHTS).get(kind) == dims and size == len(constants):
        constants = constants.where(constants == 0, torch.nan) if _mixes_zeros(module) else constants
    elif kind not in DROPOUTS:
        raise ValueError(f"{path}, {module}, does not fit the {len(constants)} units before it: {ADVICE}")
    return constants, dims


def _mixes_zeros(module: nn.Module) -> bool:
    """Whether the module pads with zeros what was one constant c != 0 everywhere, or scales it."""
    zeros = getattr(module, "count_include_pad", getattr(module, "padding_mode", "") == "zeros")
    padding = module.padding if zeros else 0
    if isinstance(padding, str):
        padding = max(module.kernel_size) - 1 if padding == "same" else 0
    return bool(torch.tensor(padding).any()) or getattr(module, "divisor_override", None) is not None


def _read_units(parts: dict[str, nn.Module]) -> dict[str, Tensor]:
    """The backward pass: a unit stays where one that stays in the next layer has a weight for it."""
    stay, read = {}, None  # all of the last layer's units are read
    for path, module in reversed(parts.items()):
        if type(module) in WEIGHTS:
            units = len(module.weight)  # each is `inputs of the next layer / units` inputs in a row
            stay[path] = torch.ones(units) > 0 if read is None else read.view(units, -1).any(1)
            read = (module.weight[stay[path]] != 0).transpose(0, 1).flatten(1).any(1)
    for path, units in stay.items():
        parts[path].weight[~units] = 0
        units[0] |= not units.any()  # no layer is left without any, if only with zeros
    return stay


def _kept(parts: dict[str, nn.Module], stay: dict[str, Tensor]) -> dict[str, Kept]:
    """What is left of every layer and norm, by path."""
    units, kept = torch.ones(1) > 0, {}  # all of the network's inputs
    for path, module in parts.items():
        inputs, units = units, stay.get(path, units)
        if shape := shape_of(module):
            kept[path] = Kept(shape, *map(_indices, (units, inputs), shape))  # a norm's shape is shorter
    return kept


def _indices(units: Tensor, size: int) -> Tensor:
    """Those of `size` inputs or channels, an equal share in a row from each unit, whose unit is left."""
    left = torch.ones(size) if units.all() else units.repeat_interleave(size // len(units))
    return left.nonzero().flatten().cpu()  # on the CPU they index tensors of any device


def _cut(module: nn.Module, kept: Kept, full: nn.Module) -> None:
    """Leave of a layer or norm what is kept, held by its part of the mask that holds the full one."""
    for tensor in [*module.parameters(), *module.buffers()]:
        tensor.data = _pick(tensor, kept)
    for name in [each for each in _SIZES if hasattr(module, each)]:
        setattr(module, name, shape_of(module)[_SIZES[name]])
    if full.bias is None and module.bias is not None and not module.bias.any():
        module.bias = None  # constants went only to units that went
    if (mask := mask_of(full, "weight")) is not None:
        hold(module, "weight", module.weight, Mask(_pick(mask, kept)))


def _pick(tensor: Tensor, kept: Kept) -> Tensor:
    """The kept part of a tensor, in its memory format."""
    part = tensor.detach()[kept.index(tensor)].contiguous()
    layout = {4: torch.channels_last, 5: torch.channels_last_3d}.get(tensor.dim())
    channels_last = layout and tensor.stride(1) == 1 and tensor.is_contiguous(memory_format=layout)
    return part.to(memory_format=layout) if channels_last else part


def _writes(path: str, kept: Kept, ours: nn.Module, theirs: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
    """Each tensor of the model's module, and its new value: zero where the small one has no part in it."""
    for name in (each for each in TENSORS if getattr(theirs, each, None) is not None):
        target, part, mask = original(theirs, name), getattr(ours, name, None), mask_of(theirs, name)
        value = torch.full_like(target, name == "running_var")  # a variance of 0 is no variance
        if part is None or part.shape != value[kept.index(value)].shape:
            raise ValueError(f"{path}.{name} does not fit: its size has changed since shrink")
        value[kept.index(value)] = part.to(value)
        if mask is not None and value[~mask].any():
            raise ValueError(f"{path}.{name} has left the mask of the model: retrain it under its mask")
        yield target, value
    if theirs.bias is None and ours.bias is not None and ours.bias.any():
        raise ValueError(f"{path} has no bias in the model to take up folded constants: give it one of zeros")
