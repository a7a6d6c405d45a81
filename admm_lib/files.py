"""Files that are there as a whole or not at all, and where they may wait."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


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
