"""A network as plain named tensors, and its identity: the architecture's name and arguments."""

import inspect
import math
import re
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from .. import models
from ..evaluation import in_eval_mode
from ..names import weight_names
from . import wire
from .rangecoder import CodecError

Identity = tuple[str, dict[str, Any]]
Shapes = dict[str, tuple[int, ...]]
Specs = dict[str, tuple[tuple[int, ...], torch.dtype]]

NUMBERS = {"lenet5": 1, "lenet300": 2}  # shorthands in the file; only ever added to
SPELLED = 127
MOST_BUILT = 1 << 28  # elements of a network that a file alone can ask for: a gigabyte


@torch.no_grad()
def plain_state(model: nn.Module) -> dict[str, Tensor]:
    """The state dict of `model` without parametrizations: the weights that it shows, by name.

    The model stays as it is. Raises CodecError for what is no ordinary tensor with values.

    >>> model = nn.Linear(4, 3)
    >>> al.ADMM(model, {"weight": al.Sparse(keep=5)}).finalize()
    >>> {name: int(each.count_nonzero()) for name, each in al.codec.plain_state(model).items()}
    {'bias': 3, 'weight': 5}
    """
    state = dict(model.state_dict())
    shown: dict[tuple[int, ...], Tensor] = {}  # tied weights stay tied under the constraint they share
    for prefix, module in model.named_modules(remove_duplicate=False):
        if not parametrize.is_parametrized(module):
            continue
        start = f"{prefix}." if prefix else ""
        for name, steps in module.parametrizations.items():
            inner = f"{start}parametrizations.{name}."
            state = {key: value for key, value in state.items() if not key.startswith(inner)}
            key = (id(steps.original), *map(id, steps))
            if key not in shown:
                shown[key] = _shown(steps)
            state[start + name] = shown[key]
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise CodecError(f"{name} is no tensor: a file keeps tensors only")
        if nn.parameter.is_lazy(value) or value.is_meta:
            raise CodecError(f"{name} has no values yet: run a batch through the module first")
        if value.layout != torch.strided:
            raise CodecError(f"{name} is {value.layout}: make it dense first")
    return state


def _shown(steps: parametrize.ParametrizationList) -> Tensor:
    """The constrained weight, in eval mode: in training mode spectral norm, say, steps on."""
    with in_eval_mode(steps):
        return steps()


def weights(model: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """What counts as weights: parameters of two dimensions or more, a tensor of two names once.

    >>> model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    >>> [*al.codec.weights(model, model.state_dict())]
    ['0.weight']
    """
    tied, parameters = ties(state), set(weight_names(model))
    return {
        name: value
        for name, value in state.items()
        if value.dim() > 1 and name in parameters and name not in tied
    }


def ties(state: dict[str, Tensor]) -> dict[str, str]:
    """Which names share their memory with an earlier one, and with which.

    >>> model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    >>> model[1].weight = model[0].weight
    >>> al.codec.ties(model.state_dict())
    {'1.weight': '0.weight'}
    """
    first: dict[tuple, str] = {}
    shared = {}
    for name, value in state.items():
        if value.numel():
            place = value.data_ptr(), value.shape, value.stride(), value.dtype
            owner = first.setdefault(place, name)
            if owner != name:
                shared[name] = owner
    return shared


def identity_of(model: nn.Module) -> Identity | None:
    """`model.architecture` where `models.ARCHITECTURES` knows it."""
    match getattr(model, "architecture", None):
        case (str(name), dict(arguments)) if name in models.ARCHITECTURES:
            return name, arguments
    return None


def write_identity(identity: Identity | None) -> bytes:
    """Every argument with its value, so that a changed default changes no old file. CodecError for arguments
    that the architecture does not have.
    """
    if identity is None:
        return wire.number(0)
    name, arguments = identity
    parameters = inspect.signature(models.ARCHITECTURES[name])
    try:
        bound = parameters.bind(**arguments)
    except TypeError as error:
        raise CodecError(f"model.architecture names no {name}: {error}") from None
    bound.apply_defaults()
    start = wire.number(NUMBERS[name]) if name in NUMBERS else bytes([SPELLED]) + wire.string(name)
    values = [wire.literal(value) for value in bound.arguments.values()]
    return start + wire.number(len(values)) + b"".join(values)


def read_identity(reader: wire.Reader) -> Identity | None:
    """What `write_identity` wrote; CodecError for an architecture that this library lacks."""
    code = reader.number(SPELLED, "architecture")
    if code == 0:
        return None
    name = reader.string("architecture") if code == SPELLED else None
    name = name or next((known for known, number in NUMBERS.items() if number == code), None)
    if name not in models.ARCHITECTURES:
        raise CodecError(
            f"the file's architecture {name or code!r} is unknown here: "
            f"this library has {', '.join(models.ARCHITECTURES)}"
        )
    parameters = list(inspect.signature(models.ARCHITECTURES[name]).parameters)
    count = reader.number(len(parameters), f"number of arguments of {name}")
    return name, {key: reader.literal(f"argument {key}") for key in parameters[:count]}


def build(identity: Identity, device: str) -> nn.Module:
    """The architecture's network; the random generator stays as it is. "meta" takes no memory. CodecError for
    arguments of which it cannot be made.
    """
    name, arguments = identity
    try:
        with torch.random.fork_rng(devices=[]), torch.device(device):
            return models.ARCHITECTURES[name](**arguments)
    except Exception as error:  # whatever a constructor makes of arguments from a damaged file
        reason = " ".join(str(error).split())[:200]
        raise CodecError(f"{_call(identity)} cannot be built: {reason}") from None


def shapes_of(identity: Identity) -> Shapes:
    """The shapes of the architecture's tensors by name; CodecError where it is too large."""
    return _shapes(build(identity, "meta"), identity)


def _shapes(network: nn.Module, identity: Identity) -> Shapes:
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    if sum(map(math.prod, shapes.values())) > MOST_BUILT:
        raise CodecError(f"{_call(identity)} has more than {MOST_BUILT} elements")
    return shapes


def in_order(state: dict[str, Tensor], model: nn.Module, identity: Identity | None) -> dict[str, Tensor]:
    """The state in the order of the file; CodecError unless tensors and modules are the architecture's."""
    if identity is None:
        return dict(sorted(state.items()))
    network = build(identity, "meta")
    known = {name: (shape,) for name, shape in _shapes(network, identity).items()}
    own = {name: (tuple(value.shape),) for name, value in state.items()}
    problem = difference(known, own, identity[0], "the module") or _changed(network, model, identity[0])
    if problem:
        remedy = "delete that attribute to keep the state dict alone"
        raise CodecError(f"model.architecture does not describe the model: {problem}; {remedy}")
    return {name: state[name] for name in known}


def _changed(network: nn.Module, model: nn.Module, name: str) -> str:
    """How the modules of `model` differ from those of the architecture that the file would name."""
    known, own = _parts(network), _parts(model)
    told = difference(known, own, name, "the module")
    return told or ("its modules are in another order" if list(known) != list(own) else "")


def _parts(network: nn.Module) -> dict[str, tuple[str]]:
    """What each module computes, by its path: its type and arguments, without those of training alone.

    Dropouts, which do nothing afterwards, and what holds a constraint are left out.
    """
    found = {}
    for path, module in network.named_modules(remove_duplicate=False):
        if ".parametrizations" not in f".{path}" and not isinstance(module, nn.modules.dropout._DropoutNd):
            kind = parametrize.type_before_parametrizations(module)
            arguments = re.sub(r"(, )?(momentum|inplace)=[^,]*", "", module.extra_repr())
            found[path] = (f"{kind.__module__}.{kind.__qualname__}({arguments})",)
    return found


def check_fit(model: nn.Module, identity: Identity | None, specs: Specs) -> None:
    """Raises CodecError, naming what differs, unless the file's tensors are those of `model`."""
    own = identity_of(model)
    if identity and own and write_identity(identity) != write_identity(own):
        raise CodecError(f"the file holds {_call(identity)}, and the module is {_call(own)}")
    if any(parametrize.is_parametrized(module) for module in model.modules()):
        raise CodecError("the module has parametrizations: make it plain with bake(model) first")
    if identity and own and (problem := _changed(build(identity, "meta"), model, identity[0])):
        raise CodecError(f"model.architecture does not describe the module: {problem}")
    state = plain_state(model)
    module = {name: (tuple(value.shape), value.dtype) for name, value in state.items()}
    if problem := difference(specs, module, "the file", "the module"):
        raise CodecError(f"file and module differ: {problem}")


def difference(first: dict[str, tuple], second: dict[str, tuple], one: str, other: str) -> str:
    """How two descriptions by name differ, the first three differences, or nothing."""
    told = [f"{other} has no {name[:80]!r}" for name in first if name not in second]
    told += [f"{one} has no {name[:80]!r}" for name in second if name not in first]
    for name in first.keys() & second.keys():
        if first[name] != second[name]:
            a, b = (" ".join(map(str, spec)) for spec in (first[name], second[name]))
            told.append(f"{name} is {a} in {one} and {b} in {other}")
    return "; ".join(sorted(told)[:3]) + (f"; and {len(told) - 3} more" if len(told) > 3 else "")


@torch.no_grad()
def fill(model: nn.Module, tensors: dict[str, Tensor]) -> nn.Module:
    """Give `model` the values of `tensors`. CodecError where two tied names disagree, and nothing is changed
    then; CodecError for numbers of another kind.
    """
    targets = model.state_dict(keep_vars=True)
    for name, owner in ties(targets).items():
        if not same_bits(tensors[name], tensors[owner]):
            raise CodecError(f"{name} and {owner} are one tensor in the module and two in the file")
    for name, target in targets.items():
        if target.dtype == tensors[name].dtype:
            target.copy_(tensors[name])
        else:  # only where the file alone decides: `check_fit` compares dtypes
            if not (target.is_floating_point() and tensors[name].is_floating_point()):
                raise CodecError(f"{name} is {tensors[name].dtype} in the file, and cannot be")
            target.data = tensors[name]
    return model


def tie(model: nn.Module, shared: dict[str, str]) -> nn.Module:
    """Give each name the very parameter, or buffer, of the name that it is shared with."""
    for name, owner in shared.items():
        (path, _, own), (source, _, first) = name.rpartition("."), owner.rpartition(".")
        for kind in ("_parameters", "_buffers"):
            there, known = (getattr(model.get_submodule(each), kind) for each in (path, source))
            if own in there and first in known:
                there[own] = known[first]
    return model


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors of one dtype are equal bit for bit, NaN and negative zeros included.

    >>> one, other = torch.tensor([0.0, float("nan")]), torch.tensor([-0.0, float("nan")])
    >>> al.codec.same_bits(one, one), al.codec.same_bits(one, other)
    (True, False)
    """
    return torch.equal(one.reshape(-1).view(torch.uint8), other.reshape(-1).view(torch.uint8))


def _call(identity: Identity) -> str:
    return f"{identity[0]}({', '.join(f'{key}={value!r}' for key, value in identity[1].items())})"
