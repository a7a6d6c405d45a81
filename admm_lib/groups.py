"""Views of a weight tensor: which entries live or die together.

A *view* names the dimensions along which the members of one group lie; there is one group for every index
into the others. Non-structured pruning is the view `element`, in which every group is a single weight.
Dimensions: (outputs, inputs) of a linear layer, (filters, channels, height, width) of a convolution. In a
transposed convolution the first two are the other way round; a grouped one has channels per group only.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

VIEWS: dict[str, Callable[[int], tuple[int, ...]]] = {
    "element": lambda dims: (),
    "filter": lambda dims: tuple(range(1, dims)),  # all that one output reads: a neuron of a linear layer
    "channel": lambda dims: (0, *range(2, dims)),  # all that reads one input
    "column": lambda dims: (0,),  # the same place in every filter ("filter shape")
    "kernel": lambda dims: tuple(range(2, dims)),  # from one input channel to one output
}


def members(shape: torch.Size, by: str) -> tuple[int, ...]:
    """The dimensions along which the members of one group of the view `by` lie.

    Raises ValueError for an unknown view and for a weight that does not have its dimensions. Source: the
    structure sets of 1907.02124, Section 3.
    """
    check_view(by)
    if by != "element" and len(shape) < 2:
        raise ValueError(
            f"by={by!r} needs the weight of one layer, with outputs and inputs, not a shape of {tuple(shape)}"
        )
    return VIEWS[by](len(shape))


def count(shape: torch.Size, by: str) -> int:
    """How many groups a weight of that shape has in the view `by`; errors as for `members`."""
    inside = members(shape, by)
    return torch.Size(size for dim, size in enumerate(shape) if dim not in inside).numel()


def norms(weight: Tensor, by: str) -> Tensor:
    """The l2 norm of every group, in double precision, with size 1 along the members (so that it broadcasts).

    For `element`, |w| in the weight's own precision. Errors as for `members`.
    """
    inside = members(weight.shape, by)
    if not inside:
        return weight.detach().abs()
    return torch.linalg.vector_norm(weight.detach().double(), dim=inside, keepdim=True)


def joined(shapes: Sequence[torch.Size]) -> torch.Size:
    """The shape under which a set sees its layers: that of the only one, or one long vector of several."""
    return shapes[0] if len(shapes) == 1 else torch.Size([sum(shape.numel() for shape in shapes)])


def check_view(by: str) -> None:
    """Raise ValueError with the known names unless `by` names a view."""
    if by not in VIEWS:
        raise ValueError(f"unknown view by={by!r}: choose one of {', '.join(sorted(VIEWS))}")
