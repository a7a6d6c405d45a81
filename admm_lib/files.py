"""Files that are there as a whole or not at all, where they may wait, and what YAML and JSON files say."""

import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import yaml
from filelock import FileLock

MOST = 100_000  # values, lists and mappings of a YAML file
CHECKSUM = "checksum"  # the field with a JSON file's own
LONGEST = 800  # characters of a message, in which a field's value may stand


@contextmanager
def replaced(path: Path) -> Iterator[BinaryIO]:
    """A new file to write to, which takes the place of `path` when the block ends, and is on the disk then.

    A reader, a killed writer or one that fails never leaves half of it: the file there before stays. A link
    goes on to lead to the file, which keeps its permissions. Raises FileNotFoundError where the folder is
    missing.
    """
    path = Path(os.path.realpath(path))
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with partial.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileNotFoundError):
            shutil.copymode(path, partial)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    with suppress(OSError):  # the folder's new entry, too, where the platform can
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def cache_folder() -> Path:
    """Where what takes long waits to be used again: $ADMM_CACHE, or the user's cache folder."""
    return Path(os.environ.get("ADMM_CACHE") or Path.home() / ".cache" / "admm_lib")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Alone, among the processes of this machine, with a file that is read, changed and written again."""
    name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    owner = os.getuid() if hasattr(os, "getuid") else ""  # others may not write what is ours
    with FileLock(Path(tempfile.gettempdir()) / f"admm_lib-{owner}-{name}.lock"):
        yield


class _Loader(yaml.SafeLoader):
    """Without merge keys, which are written out while a file is read: a few lines may take forever."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
            raise yaml.constructor.ConstructorError(problem="<< is not known", problem_mark=node.start_mark)


def read_yaml(path: Path) -> Any:
    """What a YAML file of this project says: values, lists and mappings, no more than `MOST` in all.

    A few lines that name each other may stand for billions. Raises FileNotFoundError, or ValueError naming
    the file, for what is no YAML of that kind.
    """
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: bytes, or a date in month 99
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{path.name} is not YAML of values, lists and mappings: {reason}") from None
    seen, left = 0, [found]
    while left:
        each = left.pop()
        seen += 1
        if seen > MOST:
            raise ValueError(f"{path.name} says more than {MOST:,} things, what *names stand for included")
        left += each.values() if isinstance(each, dict) else each if isinstance(each, list) else ()
    return found


def write_text(path: Path, text: str) -> None:
    """Write a text file, as a whole or not at all, into a folder that is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as file:
        file.write(text.encode())


def write_json(path: Path, found: Mapping[str, Any], indent: int = 1) -> None:
    """Write what `read_json` reads: an object, as a whole or not at all, with a checksum of all it says."""
    found = {name: each for name, each in found.items() if name != CHECKSUM}
    write_text(path, json.dumps({**found, CHECKSUM: _checksum(found)}, indent=indent) + "\n")


def _checksum(found: Mapping[str, Any]) -> str:
    """SHA-256 of what a file says, however it is laid out."""
    said = json.loads(json.dumps(found))  # keys are text there, which sorts otherwise
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def read_json(path: Path, fields: Mapping[str, type]) -> dict[str, Any]:
    """What a file of `write_json` says, an object with at least these fields, each of its type.

    Raises FileNotFoundError, or ValueError naming the file and the remedy, for anything else, and for any
    value that is not the one that was written.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("no object")
        if (checksum := found.pop(CHECKSUM, None)) is None:
            raise ValueError("it has no checksum")
        if checksum != _checksum(found):
            raise ValueError("its checksum is of something else")
        if missing := fields.keys() - found.keys():
            raise ValueError(f"lacks {', '.join(sorted(missing))}")
        if odd := [name for name, kind in fields.items() if not isinstance(found[name], kind)]:
            raise ValueError(f"{odd[0]} is no {fields[odd[0]].__name__}")
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} is damaged ({error}): restore it from version control, or delete it to make it again"
        ) from None
    return found


def check(problems: Iterable[str], path: Path, hint: str = "") -> None:
    """Raises ValueError naming the file and the first of the problems, if there is one.

    A problem may rely on those before it being in order; what is raised on the way is one as well.
    """
    try:
        for problem in problems:
            raise ValueError(problem)
    except (TypeError, KeyError, AttributeError, ValueError, OverflowError) as error:
        told = " ".join(str(error).split())
        told = told if len(told) <= LONGEST else f"{told[:LONGEST]} ..."
        raise ValueError(f"{path.name}: {told}{hint}") from None


def read_checked(path: Path, problems: Callable[[Any, str], Iterable[str]]) -> Any:
    """What a YAML file says if `problems(found, stem)` finds none; else ValueError, as by `check`."""
    found = read_yaml(path)
    check(problems(found, path.stem), path)
    return found
