"""The weights of a model that are compressed: read, written and held, whatever holds them now."""

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from .holding import hold_tied, mask_of, original
from .names import resolve, tensors

AT_ONCE = 1 << 16  # weights of a difference


class Layers:
    """The named weights of `model`, by position in the order of `add`; tied layers share one weight.

    A layer may be held by a mask already; it stays inside it.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.names: list[str] = []
        self._owners: list[list[tuple[nn.Module, str]]] = []  # several where layers are tied

    def __len__(self) -> int:
        return len(self.names)

    def add(self, name: str) -> int:
        """The position of a weight, which may be among those added so far under this or a tied name.

        Raises ValueError for an unknown name (with the nearest one) and for a weight that is held by
        something other than a mask.
        """
        owner = resolve(self.model, name)
        if is_parametrized(*owner) and mask_of(*owner) is None:
            raise ValueError(f"{name} is held by something other than a mask: admm_lib.bake(model) first")
        weight = original(*owner)
        for i in range(len(self)):
            if self.parameter(i) is weight:
                return i
        self.names.append(name)
        self._owners.append(sharing(self.model, name))
        return len(self) - 1

    def parameter(self, i: int) -> nn.Parameter:
        """The parameter that the optimizer sees."""
        return original(*self._owners[i][0])

    def parameters(self) -> list[nn.Parameter]:
        """All parameters, by position."""
        return [self.parameter(i) for i in range(len(self))]

    def mask(self, i: int) -> Tensor | None:
        """The mask that holds a layer, or None where it is free."""
        return mask_of(*self._owners[i][0])

    def value(self, i: int) -> Tensor:
        """A layer's weights as the network shows them, not to be written to: zero under a mask, even where
        an optimizer's momentum moves what lies there.
        """
        return getattr(*self._owners[i][0]).detach()

    def values(self) -> list[Tensor]:
        """A copy of each layer's weights as the network shows them. Errors as for `check_finite`."""
        self.check_finite()
        return [self.value(i).clone() for i in range(len(self))]

    def check_finite(self) -> None:
        """Raise ValueError, naming the layer, where weights are not finite."""
        for i, name in enumerate(self.names):
            if not bool(self.value(i).isfinite().all()):
                raise ValueError(
                    f"{name} holds NaN or infinite weights: "
                    "restart from a good checkpoint with a lower learning rate or rho"
                )

    def join(self, chosen: list[int], values: list[Tensor] | None = None) -> Tensor:
        """The chosen layers' values, the network's own unless given, as one: the tensor itself, or several as
        one long vector.
        """
        pieces = [self.value(i) if values is None else values[i] for i in chosen]
        return pieces[0] if len(pieces) == 1 else torch.cat([piece.reshape(-1) for piece in pieces])

    def split(self, chosen: list[int], joined: Tensor) -> list[Tensor]:
        """What `join` joined, cut back into tensors of the layers' shapes."""
        weights = [self.parameter(i) for i in chosen]
        if len(weights) == 1:
            return [joined]
        pieces = joined.split([w.numel() for w in weights])
        return [piece.reshape(w.shape) for piece, w in zip(pieces, weights, strict=True)]

    @torch.no_grad()
    def assign(self, values: list[Tensor]) -> None:
        """Write each layer's parameter."""
        for i, value in enumerate(values):
            self.parameter(i).copy_(value)

    def hold(self, i: int, value: Tensor, constraint: nn.Module) -> None:
        """Set a layer to `value` and hold it, and whatever is tied to it, by `constraint`."""
        hold_tied(self._owners[i], value, constraint)

    def part_of(self, model: nn.Module) -> bool:
        """Whether every one of the layers belongs to `model`."""
        parts = {id(module) for module in model.modules()}
        return all(id(owners[0][0]) in parts for owners in self._owners)


def sharing(model: nn.Module, name: str) -> list[tuple[nn.Module, str]]:
    """The modules, and their names for it, that have the weight `name`: several where it is tied."""
    weight = original(*resolve(model, name))
    return [each for each in tensors(model).values() if original(*each) is weight]


def distance(one: Tensor, other: Tensor) -> float:
    """||one - other||, some outputs at a time on the CPU, so that the difference takes little memory.

    >>> al.layers.distance(torch.tensor([3.0, 1]), torch.tensor([0.0, -3]))
    5.0
    """
    one, other = torch.atleast_1d(one, other)
    rows = max(1, AT_ONCE * len(one) // one.numel()) if one.is_cpu and one.numel() else max(len(one), 1)
    pieces = zip(one.split(rows), other.split(rows), strict=True)
    return torch.stack([(a - b).norm() for a, b in pieces]).cpu().double().norm().item()
