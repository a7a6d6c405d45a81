"""How a satisfied constraint is held while the network trains on.

A constraint is held by `torch.nn.utils.parametrize`: the layer keeps a free tensor, `original`, and shows
the constrained weight computed from it. Optimizers then need no special care, and neither do users.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .projections import nearest_level, singular_values


class Mask(nn.Module):
    r"""Weights outside the mask are zero: W = where(mask, original, 0).

    By `where` and not by multiplication, because inf * 0 is NaN. The gradient of a pruned weight is 0.

    >>> mask = al.parametrizations.Mask(torch.tensor([True, False]))
    >>> mask(torch.tensor([2.0, float("inf")])).tolist()
    [2.0, 0.0]
    """

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask.detach().bool().clone())

    def forward(self, original: Tensor) -> Tensor:
        """The weight; the mask may be spread over it, as one of whole filters is."""
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
        """The fixed tensor."""
        return self.value

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The original is not looked at; it is kept for its shape."""
        return weight


class Codebook(nn.Module):
    r"""Which weights are equal is fixed, what they equal trains: W = codebook[labels], zeros stay zero.

    The original is the codebook, so that its gradient is the sum over each label's weights,
    dL/dC_k = sum_i dL/dW_i 1(label_i = k). `per="channel"`: no value is shared between filters. Source:
    1510.00149, Eq. (3).

    >>> weight = torch.tensor([0.5, -1, 0, 0.5])
    >>> held = al.parametrizations.Codebook(weight)
    >>> held.right_inverse(weight).tolist(), held(torch.tensor([-1.0, 7])).tolist()
    ([-1.0, 0.5], [7.0, -1.0, 0.0, 7.0])
    """

    def __init__(self, weight: Tensor, per: str = "layer") -> None:
        super().__init__()
        labels, size = torch.zeros(weight.shape, dtype=torch.int64, device=weight.device), 0
        pairs = zip(weight.detach(), labels, strict=True) if per == "channel" else [(weight.detach(), labels)]
        for values, places in pairs:
            kept = values != 0
            found, inverse = values[kept].unique(return_inverse=True)
            places[kept] = inverse + size
            size += len(found)
        self.size = size
        self.register_buffer("labels", labels)
        self.register_buffer("mask", weight.detach() != 0)

    def forward(self, codebook: Tensor) -> Tensor:
        """The weight, of the shape of the labels, from its values (k,)."""
        # index_select is several times faster than indexing, in the backward pass above all.
        values = codebook.index_select(0, self.labels.reshape(-1)).reshape(self.labels.shape)
        return torch.where(self.mask, values, 0)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The codebook behind `weight`, which must be equal where the labels are."""
        codebook = torch.zeros(max(self.size, 1), dtype=weight.dtype, device=weight.device)
        codebook[self.labels[self.mask]] = weight[self.mask]
        return codebook


class Scaled(nn.Module):
    r"""Signs and zeros are fixed, the magnitude trains: W = a * sign, one a per layer or per channel.

    The original is a, whose gradient is sum_i dL/dW_i sign_i.

    >>> held = al.parametrizations.Scaled(torch.tensor([0.5, -0.5, 0]))
    >>> held(torch.tensor([7.0])).tolist()
    [7.0, -7.0, 0.0]
    """

    def __init__(self, weight: Tensor, per: str = "layer") -> None:
        super().__init__()
        self.per = per
        self.register_buffer("sign", weight.detach().sign().to(torch.int8))

    def forward(self, magnitude: Tensor) -> Tensor:
        """The weight, from its magnitude: one of shape (1, ...), or (outputs, 1, ...) per channel."""
        # By where, so that a pruned weight is a plain zero under a magnitude of any sign.
        return torch.where(self.sign != 0, magnitude * self.sign, 0)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The magnitude behind `weight`."""
        inside = tuple(range(1 if self.per == "channel" else 0, weight.dim()))
        if weight.numel() == 0:
            return weight.sum(dim=inside, keepdim=True)
        return weight.abs().amax(dim=inside, keepdim=True)


class Partly(nn.Module):
    """Weights that are frozen keep their values, the others train: W = where(frozen, values, original)."""

    def __init__(self, frozen: Tensor, values: Tensor) -> None:
        super().__init__()
        self.register_buffer("frozen", frozen.detach().clone())
        self.register_buffer("values", values.detach().clone())

    def forward(self, original: Tensor) -> Tensor:
        """The weight, frozen in part."""
        return torch.where(self.frozen, self.values, original)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The original whose free part is that of `weight`."""
        return weight


class Factors(nn.Module):
    r"""The weight's matrix, (shape[0], the rest), is a product of two that train: W = A B^T.

    The original is A (rows, rank) on top of B (columns, rank). At first the singular values are shared
    evenly, A = U sqrt(S) and B = V sqrt(S), so that neither factor takes larger steps than the other.
    """

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        self.shape, self.rank = weight.shape, rank

    def forward(self, factors: Tensor) -> Tensor:
        """The weight, in its own shape, from A on top of B."""
        return (factors[: self.shape[0]] @ factors[self.shape[0] :].T).reshape(self.shape)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The factors of the nearest weight of that rank."""
        left, values, right = singular_values(weight)
        roots = values[: self.rank].sqrt()
        return torch.cat([left[:, : self.rank] * roots, right[: self.rank].T * roots]).to(weight.dtype)


class StraightThrough(nn.Module):
    """The network computes with projected weights, and the gradient goes to the free ones as if it had not.

    `project` finds the values; between two searches, `every` steps of training apart, each weight goes to
    the nearest of those found last. Where `levels` are given, they are held, and nothing is looked for. Zeros
    stay zero. Source: the straight-through estimator of 1308.3432.

    >>> weight = torch.tensor([1.0, -3], requires_grad=True)
    >>> held = al.parametrizations.StraightThrough(weight, al.Binary().project)
    >>> held(weight).sum().backward()
    >>> held(weight).tolist(), weight.grad.tolist()
    ([2.0, -2.0], [1.0, 1.0])
    """

    def __init__(
        self,
        weight: Tensor,
        project: Callable[[Tensor], Tensor],
        every: int = 100,
        levels: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.project, self.every, self.steps, self.held = project, every, 0, levels is not None
        self.register_buffer("mask", weight.detach() != 0)
        found = self._found(weight.detach()) if levels is None else levels.to(weight)
        self.register_buffer("levels", found, persistent=False)  # in the extra state

    def _found(self, weight: Tensor) -> Tensor:
        nearest = self.project(torch.where(self.mask, weight, 0))
        return nearest[self.mask].unique() if bool(self.mask.any()) else nearest.new_zeros(1)

    def forward(self, original: Tensor) -> Tensor:
        """The projected weight, whose gradient is the free one's; each reading in training counts a step."""
        free = original.detach()
        if self.training and torch.is_grad_enabled():
            self.steps += 1
            if self.steps % self.every == 0 and not self.held:
                self.levels = self._found(free)
        nearest = torch.where(self.mask, nearest_level(free, self.levels), 0)
        return nearest + (original - free)  # the second term is zero, and carries the gradient

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The free weights, at first those given."""
        return weight

    def get_extra_state(self) -> Tensor:
        """Steps and levels, of which there may be more or fewer than at first, for a checkpoint."""
        return torch.cat([self.levels.new_tensor([self.steps], dtype=torch.float64), self.levels.double()])

    def set_extra_state(self, state: Tensor) -> None:
        """What `get_extra_state` gave."""
        self.steps, self.levels = int(state[0]), state[1:].to(self.levels)
