"""Files that are there as a whole or not at all, where they may wait, and what YAML files say."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import yaml


@contextmanager
def replaced(path: Path) -> Iterator[BinaryIO]:
    """A new file to write to, which takes the place of `path` when the block ends, and is on the disk then.

    A reader, a killed writer or one that fails never leaves half of it: the file there before stays. Raises
    FileNotFoundError where the folder is missing.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with partial.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def cache_folder() -> Path:
    """Where what takes long waits to be used again: $ADMM_CACHE, or the user's cache folder."""
    return Path(os.environ.get("ADMM_CACHE") or Path.home() / ".cache" / "admm_lib")


def read_yaml(path: Path) -> Any:
    """What a YAML file of this project says. FileNotFoundError, or ValueError naming the file, unless it is
    plain: values, lists and mappings, all written out, so that what is read is no larger than the file.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _WrittenOut)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: bytes, or a date in month 99
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{path.name} is not YAML of values, lists and mappings: {reason}") from None


class _WrittenOut(yaml.SafeLoader):
    """A few lines that name each other would be billions of items: nothing is repeated by its name here."""

    def compose_node(self, parent: Any, index: Any) -> yaml.Node:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError(f"*{self.peek_event().anchor} is said elsewhere: write it out")
        return super().compose_node(parent, index)
