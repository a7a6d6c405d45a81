"""A network with two thin layers for each layer of low rank: what the SVD rival stores and computes."""

import copy
from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import nn

from .constraints import LowRank
from .holding import bake
from .parametrizations import Factors
from .storage import reference_weights


@torch.no_grad()
def factored(model: nn.Module, ranks: Mapping[str, int | LowRank]) -> nn.Module:
    r"""A copy in which each layer of `ranks` is two, W x = A (B^T x): the same if W has that rank.

    `ranks` maps layers by name, "fc1" or "fc1.weight", to ranks, or to their sets. The nearest product stands
    for a weight of a higher rank. A layer of (rows, columns) is stored in rank * (rows + columns) weights; of
    a convolution the first part looks at the pixels and the second mixes channels. Raises ValueError for an
    unknown layer, one that is neither Linear nor Conv2d with groups=1, a rank outside 1 to its smaller
    side, and weights that are not finite. Source: Denton et al. 2014, as the rival of 1510.00149, Section
    6.1.

    >>> thin = al.factored(nn.Sequential(nn.Linear(20, 10)), {"0": 2})
    >>> [tuple(weight.shape) for weight in thin.parameters()]  # 60 weights in place of 200, and the bias
    [(2, 20), (10, 2), (10,)]
    """
    network = bake(copy.deepcopy(model))
    network.reference_weights = reference_weights(model)
    vars(network).pop("architecture", None)  # it is another network now
    for key, given in ranks.items():
        name, rank = key.removesuffix(".weight"), getattr(given, "rank", given)
        layer = dict(network.named_modules()).get(name) if name else None
        if type(layer) not in (nn.Linear, nn.Conv2d) or getattr(layer, "groups", 1) > 1:
            raise ValueError(f"{name!r} is no Linear or Conv2d layer with groups=1 of the model")
        rows = layer.weight.shape[0]
        if type(rank) is not int or not 1 <= rank <= min(rows, layer.weight[0].numel()):
            raise ValueError(f"{name}: rank is a whole number from 1 to its smaller side, not {rank!r}")
        factors = Factors(layer.weight, rank).right_inverse(layer.weight)
        parent, _, own = name.rpartition(".")
        setattr(network.get_submodule(parent), own, _two(layer, factors[:rows], factors[rows:].T))
    return network


def _two(layer: nn.Linear | nn.Conv2d, left: torch.Tensor, right: torch.Tensor) -> nn.Sequential:
    """The layers B^T, without a bias, and A, with that of `layer`."""
    rows, rank = left.shape
    place = {"device": layer.weight.device, "dtype": layer.weight.dtype}
    bias = layer.bias is not None
    if isinstance(layer, nn.Linear):
        first = nn.Linear(layer.in_features, rank, bias=False, **place)
        second = nn.Linear(rank, rows, bias=bias, **place)
    else:
        same = {each: getattr(layer, each) for each in ("stride", "padding", "dilation", "padding_mode")}
        first = nn.Conv2d(layer.in_channels, rank, layer.kernel_size, bias=False, **same, **place)
        second = nn.Conv2d(rank, rows, 1, bias=bias, **place)
    first.weight.copy_(right.reshape(first.weight.shape))
    second.weight.copy_(left.reshape(second.weight.shape))
    if bias:
        second.bias.copy_(layer.bias)
    return nn.Sequential(OrderedDict(first=first, second=second)).train(layer.training)
