"""Views of a weight tensor: which entries live or die together.

A *view* cuts a tensor into groups, each of which lives or dies as a whole. Non-structured pruning is the
view `element`, in which every group is a single weight. Most views name the dimensions along which the
members of a group lie; there is one group for every index into the others. Dimensions: (outputs, inputs) of
a linear layer, (filters, channels, height, width) of a convolution. In a transposed convolution the first
two are the other way round; a grouped one has channels per group only.

Two views have a size, `group`. A `block` is (rows, columns) of the matrix with a row for each output,
(shape[0], the rest). In `n:m` the groups are single weights, of which n may live in every m neighbours of an
output, channels next to each other, as hardware with sparse units reads them. What is left over at an edge
is a smaller block, or fewer neighbours.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

VIEWS: dict[str, Callable[[int], tuple[int, ...]]] = {
    "element": lambda dims: (),
    "filter": lambda dims: tuple(range(1, dims)),  # all that one output reads: a neuron of a linear layer
    "channel": lambda dims: (0, *range(2, dims)),  # all that reads one input
    "column": lambda dims: (0,),  # the same place in every filter ("filter shape")
    "kernel": lambda dims: tuple(range(2, dims)),  # from one input channel to one output
}
SIZED = ("block", "n:m")
Group = int | tuple[int, int] | None


def check_view(by: str, group: Group = None) -> None:
    """Raise ValueError with the known names unless `by` names a view, and `group` is a size that it has."""
    if by not in VIEWS and by not in SIZED:
        raise ValueError(f"unknown view by={by!r}: choose one of {', '.join(sorted((*VIEWS, *SIZED)))}")
    if by in VIEWS and group is not None:
        raise ValueError(f"by={by!r} has no size: leave group out, or choose one of {', '.join(SIZED)}")
    if by == "block" and not (
        isinstance(group, tuple) and len(group) == 2 and all(type(size) is int and size > 0 for size in group)
    ):
        raise ValueError(f'by="block" needs group=(rows, columns), whole numbers above 0, not {group!r}')
    if by == "n:m" and not (type(group) is int and group > 1):
        raise ValueError(f'by="n:m" needs group=m, a whole number above 1, not {group!r}')


def members(shape: torch.Size, by: str) -> tuple[int, ...]:
    """The dimensions along which the members of one group of the view `by` lie.

    Raises ValueError for a view that is none of `VIEWS` and for a weight that does not have its dimensions.
    Source: the structure sets of 1907.02124, Section 3.

    >>> shape = torch.Size([20, 10, 5, 5])
    >>> [al.groups.members(shape, by) for by in ("element", "filter", "channel", "column", "kernel")]
    [(), (1, 2, 3), (0, 2, 3), (0,), (2, 3)]
    """
    _check_dimensions(shape, by)
    if by not in VIEWS:
        raise ValueError(f"by={by!r} has a size, and no dimensions: choose one of {', '.join(VIEWS)}")
    return VIEWS[by](len(shape))


def count(shape: torch.Size, by: str, group: Group = None) -> int:
    """How many groups a weight of that shape has; in `n:m` how many weights there are among m neighbours, m.

    Errors as for `members`.

    >>> shape = torch.Size([20, 10, 5, 5])
    >>> [al.groups.count(shape, by) for by in ("filter", "column", "kernel")]
    [20, 250, 200]
    """
    _check_dimensions(shape, by)
    if by == "n:m":
        return group
    if by == "block":
        return math.ceil(shape[0] / group[0]) * math.ceil(shape[1:].numel() / group[1])
    inside = members(shape, by)
    return torch.Size(size for dim, size in enumerate(shape) if dim not in inside).numel()


def most_weights(shape: torch.Size, by: str, group: Group = None) -> int:
    """How many weights one group can have, or in `n:m` each unit of n; of `VIEWS`, errors as `members`."""
    if by == "block":
        return math.prod(group)
    if by == "n:m":
        return shape[0] * math.ceil(shape[1:].numel() / group)
    return shape.numel() // count(shape, by)


def norms(weight: Tensor, by: str, group: Group = None) -> Tensor:
    """The l2 norm of every group, in double precision, one for each group, with size 1 along the members.

    For `element`, |w| in the weight's own precision; for blocks a matrix of them, which `spread` brings into
    the weight's shape. Errors as for `members`.

    >>> al.groups.norms(torch.tensor([[3.0, 4], [0, 1]]), "filter").tolist()
    [[5.0], [1.0]]
    """
    _check_dimensions(weight.shape, by)
    if by == "block":
        matrix = weight.detach().double().flatten(1)
        rows, columns = ((-size) % step for size, step in zip(matrix.shape, group, strict=True))
        cut = F.pad(matrix, (0, columns, 0, rows)).unflatten(1, (-1, group[1])).unflatten(0, (-1, group[0]))
        return torch.linalg.vector_norm(cut, dim=(1, 3))
    inside = members(weight.shape, by)
    if not inside:
        return weight.detach().abs()
    return torch.linalg.vector_norm(weight.detach().double(), dim=inside, keepdim=True)


def spread(chosen: Tensor, shape: torch.Size, by: str, group: Group = None) -> Tensor:
    """What was chosen for each group, as `norms` has them, for each member: broadcastable to the shape.

    >>> chosen = torch.tensor([[True, False]])
    >>> al.groups.spread(chosen, torch.Size([2, 4]), "block", (2, 2)).tolist()
    [[True, True, False, False], [True, True, False, False]]
    """
    if by != "block":
        return chosen
    wide = chosen.repeat_interleave(group[0], 0).repeat_interleave(group[1], 1)
    return wide[: shape[0], : shape[1:].numel()].reshape(shape)


def neighbours(weight: Tensor, group: int) -> Tensor:
    """The weight as the view `n:m` sees it: a row of m for each set of neighbours, (sets, m), the last of an
    output filled up with zeros.

    >>> al.groups.neighbours(torch.arange(1.0, 7).reshape(1, 6), 4).tolist()
    [[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 0.0, 0.0]]
    """
    _check_dimensions(weight.shape, "n:m")
    rows = weight.movedim(1, -1).flatten(1)
    return F.pad(rows, (0, -rows.shape[1] % group)).unflatten(1, (-1, group)).flatten(0, 1)


def from_neighbours(sets: Tensor, shape: torch.Size) -> Tensor:
    """The tensor of that shape which `neighbours` made these sets of."""
    moved = torch.Size((shape[0], *shape[2:], shape[1]))
    outputs, inputs = shape[0], shape[1:].numel()
    rows = sets.reshape(outputs, -(-inputs // sets.shape[1]) * sets.shape[1])[:, :inputs]
    return rows.reshape(moved).movedim(-1, 1)


def joined(shapes: Sequence[torch.Size]) -> torch.Size:
    """The shape under which a set sees its layers: that of the only one, or one long vector of several."""
    return shapes[0] if len(shapes) == 1 else torch.Size([sum(shape.numel() for shape in shapes)])


def _check_dimensions(shape: torch.Size, by: str) -> None:
    if by not in SIZED:
        check_view(by)
    if by != "element" and len(shape) < 2:
        raise ValueError(
            f"by={by!r} needs the weight of one layer, with outputs and inputs, not a shape of {tuple(shape)}"
        )
