"""Views of a weight tensor: which entries live or die together.

A *view* turns a tensor of any shape into a matrix with one group per row; a projection then works on
rows. Non-structured pruning is the view `element`, in which every row holds a single weight.
"""

from collections.abc import Callable

from torch import Tensor

VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    "element": lambda weight: weight.reshape(-1, 1),
}


def to_groups(weight: Tensor, by: str = "element") -> Tensor:
    """The weight as a matrix (groups, members), in the tensor's logical (row-major) order.

    Raises ValueError for an unknown view. Source: the structure sets of 1907.02124, Section 3.
    """
    return VIEWS[check_view(by)](weight)


def check_view(by: str) -> str:
    """`by` itself when it names a view; raises ValueError with the known names otherwise."""
    if by not in VIEWS:
        raise ValueError(f"unknown view by={by!r}: choose one of {', '.join(sorted(VIEWS))}")
    return by
