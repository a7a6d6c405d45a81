"""One (Z, U) pair of ADMM: a set over one layer, or over several layers seen as one long vector."""

from dataclasses import dataclass, field
from numbers import Real

import torch
from torch import Tensor, nn

from . import groups
from .constraints import Constraint, LowRank, Sparse
from .layers import Layers
from .parametrizations import Constant

Key = str | tuple[str, ...]


def names_of(key: Key) -> tuple[str, ...]:
    """The layers that a key names."""
    return (key,) if isinstance(key, str) else tuple(key)


@dataclass
class Pair:
    """A set, the positions of its layers in `Layers`, its penalty parameter, and Z and U, shaped like it."""

    key: Key
    constraint: Constraint
    layers: list[int]
    rho: float
    base: float  # what a schedule's factor multiplies
    Z: Tensor = field(default_factory=lambda: torch.empty(0))
    U: Tensor = field(default_factory=lambda: torch.empty(0))


def paired(layers: Layers, key: Key, constraint: Constraint, rho: float | None) -> Pair:
    """The pair of a set and the layers that `key` names, which are added to `layers`; Z and U still empty.

    Raises ValueError for an unknown layer (with the nearest name), one named twice, no set or one that does
    not fit its layers, values shared by several dtypes, and a rho that is not positive.
    """
    names = names_of(key)
    chosen = [layers.add(name) for name in names]
    if not chosen or len(set(chosen)) < len(chosen):
        raise ValueError(f"{key}: name at least one weight, each once (tied layers share one weight)")
    if not isinstance(constraint, Constraint) or isinstance(constraint, type):
        raise ValueError(f"{key}: {constraint!r} is not a constraint set, such as Sparse(ratio=10)")
    constraint.check(groups.joined([layers.parameter(i).shape for i in chosen]), " + ".join(names))
    kinds = {str(layers.parameter(i).dtype) for i in chosen}
    if len(kinds) > 1 and not isinstance(constraint, Sparse):
        these = " and ".join(sorted(kinds))
        raise ValueError(f"{key}: {these} cannot share values: give each layer its own set")
    if isinstance(constraint, LowRank) and layers.mask(chosen[0]) is not None:
        raise ValueError(f"{key} is pruned, and {constraint} would fill it again: choose one of the two")
    if not isinstance(rho, Real) or not 0 < rho < float("inf"):
        raise ValueError(f"{key}: rho must be a positive number, but is {rho!r}")
    return Pair(key, constraint, chosen, float(rho), float(rho))


def check_together(pairs: list[Pair], layers: Layers) -> None:
    """Raise ValueError where the sets of one layer cannot all be held later: two that say what its values
    are, or a low rank beside anything else.
    """
    for i, name in enumerate(layers.names):
        mine = [pair.constraint for pair in pairs if i in pair.layers]
        of_values = [each for each in mine if not isinstance(each, Sparse)]
        if len(of_values) > 1 or (len(mine) > 1 and any(isinstance(each, LowRank) for each in mine)):
            said = ", ".join(map(repr, mine))
            raise ValueError(f"{name}: {said}: beside one set of values, only budgets can be held; drop one")


def holder(mine: list[Pair], value: Tensor) -> nn.Module:
    """What keeps a layer in all its sets: the set of values where there is one, which keeps zeros as well.

    Of values that several layers share a layer's part would train away from the others', so these stay.
    """
    pair = next((pair for pair in mine if not isinstance(pair.constraint, Sparse)), mine[0])
    if isinstance(pair.constraint, Sparse) or len(pair.layers) == 1:
        return pair.constraint.hold(value)
    return Constant(value)
