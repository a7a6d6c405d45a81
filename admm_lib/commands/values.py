"""What is typed on a command line, as values; and examples of what may be."""

import argparse
import ast
from typing import Any


def value(text: str) -> Any:
    """A Python literal, or else the text itself: 3, 0.5, [1, 2], smoke."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def side(size: int) -> int:
    """The size of an image. Raises ValueError for one below 1."""
    if size < 1:
        raise ValueError(f"--size is the pixels of an image's side, 1 or more, not {size}")
    return size


def examples(text: str) -> dict[str, Any]:
    """The arguments of a parser that has these at the end of its help."""
    return {"epilog": f"examples:{text}", "formatter_class": argparse.RawDescriptionHelpFormatter}
