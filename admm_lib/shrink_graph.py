"""Dead-path elimination in networks with branches: a traced graph says which channels are coupled.

A residual sum, a concatenation or a depthwise convolution couples the channels of several layers: they go
together or not at all. `torch-pruning` traces the network and lists such groups. For each channel of a group

    writers   are the convolutions and linear layers whose rows compute it
    readers   are those whose columns look at it

and batch norms, depthwise convolutions, activations and pooling work on each channel alone. Two passes over
the weights, repeated until nothing changes, find what cannot matter: where all readers' columns are zero, the
writers' rows become zero, too; where all writers' rows are zero the channel is a constant, which the readers
take into their biases, and their columns become zero. A channel goes when both are zero.
"""

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from .holding import bake
from .storage import reference_weights

Member = tuple[nn.Module, Tensor]  # a layer and its own indices, (channels, indices of each)


@dataclass(eq=False)
class Channels:
    """A group of coupled channels, and where its root is pruned: a layer and torch-pruning's function."""

    root: tuple[nn.Module, Callable]
    writers: list[Member] = field(default_factory=list)
    readers: list[Member] = field(default_factory=list)
    norms: list[Member] = field(default_factory=list)  # with vectors of their own, one number a channel

    def unwritten(self) -> Tensor:
        """True for channels whose writers' rows are all zero; (channels,)."""
        zero = [((layer.weight == 0).flatten(1).all(1), own) for layer, own in self.writers]
        return torch.stack([rows[own].all(1) for rows, own in zero]).all(0)

    def unread(self) -> Tensor:
        """True for channels whose readers' columns are all zero; (channels,)."""
        zero = [((layer.weight == 0).transpose(0, 1).flatten(1).all(1), own) for layer, own in self.readers]
        return torch.stack([columns[own].all(1) for columns, own in zero]).all(0)


@torch.no_grad()
def shrink_graph(model: nn.Module, inputs: Tensor | tuple[Any, ...]) -> nn.Module:
    """The same function in eval mode as a smaller network; see `shrink`, which calls this with inputs."""
    batches = _batches(inputs)
    small = bake(copy.deepcopy(model))
    modes = [(module, module.training) for module in small.modules()]
    small.eval()
    expected = [_tensors(small(*batch)) for batch in batches]
    graph, groups = _traced(small, batches[0])
    while any([_drop_unread(each) for each in groups] + _fold_all(small, groups, batches)):
        pass  # each round zeroes a row or a column at least
    leaving = [(each.root, _gone(each)) for each in groups]
    for (layer, prune), gone in leaving:  # a root's own indices stay, whatever else is pruned
        if gone:
            graph.get_pruning_group(layer, prune, gone).prune()
    _check_same(expected, small, batches)
    _as_before(small, model, modes)
    for module in small.modules():
        vars(module).pop("architecture", None)  # it is another network now
    small.reference_weights = reference_weights(model)
    return small


@torch.no_grad()
def clear_unread(model: nn.Module, inputs: Tensor | tuple[Any, ...]) -> nn.Module:
    """The same function, plain and of full size, with zeros for all weights that nobody reads.

    A file of it holds what the smaller network holds. Norms of such channels are 0 times (x - 0) / 1 + 0.
    Raises ValueError where the network cannot be traced on `inputs`, or would compute something else; see
    `shrink`.
    """
    batches = _batches(inputs)
    cleared = bake(copy.deepcopy(model))
    modes = [(module, module.training) for module in cleared.modules()]
    cleared.eval()
    expected = [_tensors(cleared(*batch)) for batch in batches]
    _, groups = _traced(cleared, batches[0])
    while any([_drop_unread(each) for each in groups]):
        pass  # rows that go may have been the last readers of others
    for each in groups:
        for norm, own in each.norms:
            gone = own[each.unread()].flatten()
            for name, value in (("weight", 0), ("bias", 0), ("running_mean", 0), ("running_var", 1)):
                if (vector := getattr(norm, name, None)) is not None:
                    vector[gone] = value
    _check_same(expected, cleared, batches)
    _as_before(cleared, model, modes)
    return cleared


def _batches(inputs: Tensor | tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """The arguments as given, and the same with noise as large as they are: what is equal in a single example
    or in zeros is no constant yet.
    """
    given = inputs if isinstance(inputs, tuple) else (inputs,)
    generator = torch.Generator().manual_seed(0)

    def noisy(argument: Any) -> Any:
        if not isinstance(argument, Tensor) or not argument.is_floating_point():
            return argument
        size = argument.float().std(correction=0).item() or 1.0
        return argument + size * torch.randn(argument.shape, generator=generator).to(argument)

    return [given, tuple(map(noisy, given))]


def _traced(network: nn.Module, given: tuple[Any, ...]) -> tuple[Any, list[Channels]]:
    """torch-pruning's graph of a plain network, and its groups; ValueError where it makes none."""
    import torch_pruning

    for parameter in network.parameters():
        parameter.requires_grad_(True)  # the graph is traced by gradients
    try:
        with torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            graph = torch_pruning.DependencyGraph().build_dependency(network, given)
            return graph, [each for group in graph.get_all_groups() if (each := _channels(graph, group))]
    except Exception as error:  # whatever tracing makes of a network that it does not know
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"torch-pruning cannot trace the network: {reason}") from error


def _as_before(network: nn.Module, model: nn.Module, modes: list[tuple[nn.Module, bool]]) -> None:
    """Flags as in `model`, for what it has of the network's parameters, and the modes as they were."""
    trained = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(trained.get(name, True))
    for module, mode in modes:
        module.training = mode


def _tensors(outputs: Any) -> list[Tensor]:
    """All tensors in what a network returns."""
    if isinstance(outputs, Tensor):
        return [outputs]
    parts = outputs.values() if isinstance(outputs, dict) else outputs if outputs is not None else ()
    return [tensor for part in parts for tensor in _tensors(part)]


def _check_same(expected: list[list[Tensor]], network: nn.Module, batches: list[tuple[Any, ...]]) -> None:
    """Raise ValueError unless the network runs, and returns what is expected to float tolerance."""
    try:
        found = [_tensors(network(*batch)) for batch in batches]
    except (RuntimeError, ValueError):  # layers that no longer fit each other
        found = []
    same = len(found) == len(expected) and all(
        a.shape == b.shape and torch.allclose(a, b, rtol=1e-3, atol=1e-5 * float(a.abs().max()))
        for theirs, ours in zip(expected, found, strict=True)
        for a, b in zip(theirs, ours, strict=True)
    )
    if not same:
        raise ValueError(
            "the smaller network computes something else: torch-pruning misreads a part of it, or what would "
            "go is returned"
        )


def _channels(graph: Any, group: Any) -> Channels | None:
    """The members of a group; None where it holds the network's own output, or what is not known to treat
    each channel alone.
    """
    from torch_pruning.ops import OPTYPE

    names = ("BN", "IN", "DEPTHWISE_CONV", "PRELU", "ELEMENTWISE", "RESHAPE", "CONCAT", "SPLIT", "SLICE")
    alone = {OPTYPE[name] for name in names}
    each = Channels((group[0].dep.target.module, group[0].dep.handler))
    count = len(group[0].idxs)
    for item in group:
        kind, layer = item.dep.target.type, item.dep.target.module
        weighs = kind in (OPTYPE.CONV, OPTYPE.LINEAR) and getattr(layer, "groups", 1) == 1
        transposed = isinstance(layer, nn.modules.conv._ConvTransposeNd)  # its rows are inputs
        if transposed or (not weighs and kind not in alone):
            return None
        if weighs or kind == OPTYPE.BN:
            member = layer, _by_channel(torch.tensor(item.idxs), torch.tensor(item.root_idxs), count)
            writes = graph.is_out_channel_pruning_fn(item.dep.handler)
            (each.norms if not weighs else each.writers if writes else each.readers).append(member)
    return each if each.readers else None


def _by_channel(own: Tensor, channels: Tensor, count: int) -> Tensor:
    """A layer's indices as a matrix with a row for each channel, which has several after flattening."""
    return own[channels.argsort(stable=True)].reshape(count, -1)


def _gone(each: Channels) -> list[int]:
    """The channels that may go, all but one at most."""
    gone = each.unwritten() & each.unread()
    return gone.nonzero().flatten().tolist()[int(gone.all()) :]


def _drop_unread(each: Channels) -> bool:
    """Zero the rows that nobody reads; whether there were any."""
    chosen = each.unread() & ~each.unwritten()
    for layer, own in each.writers:
        layer.weight[own[chosen].flatten()] = 0
    return bool(chosen.any())


def _fold_all(model: nn.Module, groups: list[Channels], batches: list[tuple[Any, ...]]) -> list[bool]:
    """For each group, whether it had constants that its readers took into their biases."""
    seen: dict[nn.Module, list[Tensor]] = {}

    def look(layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        seen.setdefault(layer, []).append(arguments[0])

    hooks = [
        layer.register_forward_pre_hook(look)
        for layer in {layer for each in groups for layer, _ in each.readers}
    ]
    for batch in batches:
        model(*batch)
    for hook in hooks:
        hook.remove()
    return [_fold(each, seen) for each in groups]


def _fold(each: Channels, seen: dict[nn.Module, list[Tensor]]) -> bool:
    """Take what readers see of dead channels into their biases; whether there was anything to take.

    A border of zeros does not see the constant: where a convolution pads, only zero is taken.
    """
    chosen = each.unwritten() & ~each.unread()
    for layer, own in each.readers:
        least, most = _range(layer, seen[layer], own)
        chosen &= (least == most) & ((most == 0) | (not _pads(layer)))
    for layer, own in each.readers:
        constants, columns = _range(layer, seen[layer], own)[0][chosen], own[chosen]
        if bool(constants.any()):
            if layer.bias is None:
                layer.bias = nn.Parameter(layer.weight.new_zeros(len(layer.weight)))
            layer.bias += layer.weight[:, columns].flatten(2).sum(-1) @ constants
        layer.weight[:, columns.flatten()] = 0
    return bool(chosen.any())


def _range(layer: nn.Module, inputs: list[Tensor], own: Tensor) -> tuple[Tensor, Tensor]:
    """The least and the most that a layer sees of each channel; (channels,) each."""
    features = [each.movedim(-1 if isinstance(layer, nn.Linear) else 1, 0) for each in inputs]
    part = torch.cat([each[own].flatten(1) for each in features], dim=1)
    return part.amin(1), part.amax(1)


def _pads(layer: nn.Module) -> bool:
    """Whether a convolution sees zeros beyond the border."""
    padding = getattr(layer, "padding", "valid")
    return padding == "same" if isinstance(padding, str) else any(padding)
