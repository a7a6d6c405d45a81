"""The intersection of two sets: few nonzero weights, and few values for them."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from . import projections
from .constraints import Constraint, LowRank, Sparse

ROUNDS = 20  # of support and values in turn; two or three are usual
FEW = 16  # groups of which every number is tried


@dataclass(frozen=True)
class Both:
    r"""At most `sparse.keep` nonzero groups, and their weights in the set `few`: {Z in sparse and in few}.

    Support and values are improved in turn. Values given, weight i is worth g_i = w_i^2 - (w_i - l_i)^2,
    where l_i is the value nearest to it: the groups of the largest sum of positive g_i stay, at most `keep`.
    Support given, `few` projects what stays. The error falls in every round, to a local optimum, the best
    of several starts, since weights too small for any value are better left out, and what stays then has
    better values. Held as `few` holds it. Raises ValueError where `sparse` is no `Sparse`, or `few` is one,
    no set of values, one per channel, or moves zeros. Source: 1811.01907, Section 3.3 (both constraints at
    once).

    >>> al.Both(al.Sparse(keep=2), al.Binary()).project(torch.tensor([3.0, -1, 0.5, 2])).tolist()
    [2.5, 0.0, 0.0, 2.5]
    """

    sparse: Sparse
    few: Constraint

    def __post_init__(self) -> None:
        few = isinstance(self.few, Constraint) and not isinstance(self.few, (type, Sparse, LowRank, Both))
        if not isinstance(self.sparse, Sparse) or not few:
            raise ValueError(
                "Both takes a Sparse, then a set of few values: Both(Sparse(9), Levels(2))"
            )
        if bool(self.few.project(torch.zeros(1)).any()):
            raise ValueError(f"{self.few!r} moves zeros, and what is pruned has to stay zero")
        if getattr(self.few, "per", "layer") == "channel":
            raise ValueError('Both takes values per layer, not per="channel"')

    def check(self, shape: torch.Size, name: str) -> None:
        """Raise ValueError where one of the two does not fit."""
        self.sparse.check(shape, name)
        self.few.check(shape, name)

    def project(self, weight: Tensor) -> Tensor:
        """In both sets, no farther than one projection after the other. ValueError for NaN or infinity."""
        weight = weight.detach()
        if not bool(weight.isfinite().all()):
            raise ValueError("a weight that is NaN or infinite has no nearest value")
        if not weight.ndim:
            return self.project(weight[None])[0]
        budget = self.sparse.budget(self.sparse.count(weight.shape))
        chosen = _candidates(weight, budget) if self.sparse.by == "element" else slice(None)
        part = weight[chosen]
        budget = min(budget, self.sparse.count(part.shape))  # zeros are no candidates
        found = [self._from(part, keep, budget) for keep in _starts(budget)]
        result = torch.zeros_like(weight)
        result[chosen] = min(found, key=lambda each: _error(part, each))
        return result

    def _from(self, weight: Tensor, keep: int, budget: int) -> Tensor:
        """The end of the rounds that start from the `keep` largest groups."""
        best = self.few.project(self._of(keep).project(weight))
        error = _error(weight, best)
        for _ in range(ROUNDS):
            nearer = self._improved(weight, best, budget)
            less = _error(weight, nearer)
            if not less < error:
                break
            best, error = nearer, less
        return best

    def _improved(self, weight: Tensor, found: Tensor, budget: int) -> Tensor:
        """The values of `found` choose what stays, and what stays its values."""
        values = found[found != 0].unique()
        if not len(values):
            return found
        nearest = projections.nearest_level(weight, values)
        w, v = _scaled(weight, weight), _scaled(nearest, weight)
        worth = (w.square() - (w - v).square()).clamp(min=0)
        kept = self._of(budget).chosen(worth.sqrt()) & (worth > 0)
        return self.few.project(torch.where(kept, weight, 0))

    def _of(self, keep: int) -> Sparse:
        """The sparse set with another budget."""
        return replace(self.sparse, keep=keep, ratio=None)

    def hold(self, weight: Tensor) -> nn.Module:
        """As the set of few values holds it: zeros stay zero."""
        return self.few.hold(weight)


def _scaled(tensor: Tensor, weight: Tensor) -> Tensor:
    """In double precision, in units of the largest weight, so that squares neither overflow nor vanish."""
    return tensor.double() / weight.double().abs().max()


def _error(weight: Tensor, nearest: Tensor) -> float:
    """The squared distance, in squares of the largest weight."""
    if not bool(weight.any()):
        return 0.0
    return float((_scaled(weight, weight) - _scaled(nearest, weight)).square().sum())


def _starts(budget: int) -> list[int]:
    """How many groups to begin with: all numbers up to a few, else all, half, a quarter, and so on."""
    if budget <= FEW:
        return list(range(budget, -1, -1))
    return [budget >> halved for halved in range(budget.bit_length())]


def _candidates(weight: Tensor, budget: int) -> tuple[Tensor, ...]:
    """Where the `budget` largest weights of either sign are: no others can stay, since of two weights of one
    sign the larger is worth at least as much.
    """
    signs = (weight, -weight)
    chosen = [projections.top_k_mask(torch.where(each > 0, each, 0), budget) & (each > 0) for each in signs]
    return (chosen[0] | chosen[1]).nonzero(as_tuple=True)
