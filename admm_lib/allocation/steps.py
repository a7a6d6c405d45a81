"""Budgets on the way to a ratio, and what the budgets of earlier steps leave."""

from collections.abc import Mapping
from dataclasses import replace

from torch import nn

from .. import groups
from ..constraints import Sparse
from ..names import resolve
from ..pairs import Key, names_of
from .rules import prunable


def in_steps(model: nn.Module, sets: Mapping[Key, Sparse], steps: int) -> list[dict[Key, Sparse]]:
    r"""Budgets on the way to `sets`: step s of S keeps n_i (k_i / n_i)^(s / S) of n_i weights (or groups).

    Every step divides what is left by the same factor; no budget falls below its last, and the
    last ones are exact. Raises ValueError for steps < 1, an unknown layer and a set that does not fit it.
    Source: the moderate partial prunings of 1810.07378, Section 3.

    >>> steps = al.allocation.in_steps(nn.Linear(100, 10), {"weight": al.Sparse(ratio=100)}, steps=2)
    >>> [each["weight"] for each in steps]
    [Sparse(keep=100), Sparse(keep=10)]
    """
    if steps < 1:
        raise ValueError(f"steps must be 1 or more, but is {steps}")
    last, counts = {}, {}
    for key, each in sets.items():
        shapes = [getattr(*resolve(model, name)).shape for name in names_of(key)]
        shape = groups.joined(shapes)
        each.check(shape, str(key))
        counts[key] = max(1, each.count(shape))  # an empty layer keeps none of one
        last[key] = each.budget(counts[key])
    return [
        {
            key: replace(
                sets[key], ratio=None, keep=max(last[key], round(n * (last[key] / n) ** (step / steps)))
            )
            for key, n in counts.items()
        }
        for step in range(1, steps + 1)
    ]


class Left:
    """The most that budgets have left so far: nonzero groups of each layer, by view, and weights in all."""

    def __init__(self, model: nn.Module) -> None:
        self._shapes = {name: weight.shape for name, weight in prunable(model).items()}
        self._views: dict[str, dict[tuple, int]] = {name: {} for name in self._shapes}
        self._each = {name: shape.numel() for name, shape in self._shapes.items()}  # nonzero weights
        self._weights = sum(self._each.values())

    def most(self, key: Key, each: Sparse) -> int:
        """How many groups of a layer, as `each` sees it, or weights of several layers, may still be there."""
        if isinstance(key, str):
            left = self._views[key].get((each.by, each.group), each.count(self._shapes[key]))
            return min(left, self._each[key], self._weights)
        return min(sum(self._each[name] for name in key), self._weights)

    def lower(self, key: Key, each: Sparse) -> None:
        """Take in a budget, no larger than `most`: that of a layer, or one over all layers."""
        if isinstance(key, str):
            shape = self._shapes[key]
            self._views[key][each.by, each.group] = each.keep
            weights = each.keep * groups.most_weights(shape, each.by, each.group)
            self._each[key] = min(self._each[key], weights)
        else:
            self._weights = each.keep
        self._weights = min(self._weights, sum(self._each.values()))
