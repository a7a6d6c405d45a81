"""The state of a training run in a file, so that a killed run goes on where it was."""

import zipfile
import zlib
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from . import files


class Stateful(Protocol):
    """A model, an optimizer, a schedule, an ADMM: whatever has a state to keep."""

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on from here."""

    def load_state_dict(self, state: dict[str, Any]) -> object:
        """Go on from there."""


class Checkpoint:
    """All `parts` of a run, written to `path` as a whole or not at all.

    `told` is what the run was told, in plain values. With it and the state of the parts at the start, the
    file is known to be of this run and not of another. (Data and loss have no state to compare. What one of
    the two was not told, as by an older release, is unknown and not compared.)
    """

    def __init__(self, path: str | Path, parts: dict[str, Stateful | None], told: dict[str, Any]) -> None:
        self.path = Path(path)
        self.parts = {name: part for name, part in parts.items() if part is not None}
        self.run = {**told, **{name: checksum(part.state_dict()) for name, part in self.parts.items()}}

    def write(self, **more: Any) -> None:
        """Keep the state as it is now, and `more`: plain numbers, strings, lists and tensors."""
        state = {name: part.state_dict() for name, part in self.parts.items()}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with files.replaced(self.path) as file:
            try:
                torch.save({"run": self.run, "parts": state, "more": more}, file)
            except RuntimeError as error:  # of torch, in the place of what the file said, as of a full disk
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from None
                raise

    def read(self) -> dict[str, Any]:
        """Put everything back to where it was, and give what was kept as `more`; {} without a file.

        The parts must be as they were when the run began. Raises ValueError, naming the file and the
        remedy, where it is damaged or of another run; nothing is changed then.
        """
        if not self.path.exists():
            return {}
        try:
            with zipfile.ZipFile(self.path) as archive:  # torch itself does not compare its checksums
                if damaged := archive.testzip():
                    raise ValueError(f"{damaged} does not have its checksum")
            found = torch.load(self.path, map_location="cpu", weights_only=True)
            run, parts, more = found["run"], found["parts"], found["more"]
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise ValueError(f"{self.path} is damaged: delete it to start over ({reason})") from error
        for name in self.run:  # what the run was told comes first, and explains what follows from it
            if name not in self.parts and run.get(name, self.run[name]) != self.run[name]:
                values = f"{name} {run[name]} there, {self.run[name]} here"
                raise ValueError(
                    f"{self.path} belongs to another run ({values}): give this one a file of its own"
                )
        for name in parts.keys() | self.parts:
            if run.get(name) != self.run.get(name):
                raise ValueError(
                    f"{self.path} is of a run that started from another {name}: to go on with that run, make "
                    "model, optimizer and ADMM anew as they were; for another run, give another file"
                )
        for name, part in self.parts.items():
            part.load_state_dict(parts[name])
        return more


def checksum(state: object) -> int:
    """CRC-32 of a nested state: the bytes of its tensors, and everything else as it is shown."""
    if isinstance(state, Tensor):
        content = state.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        return zlib.crc32(content, checksum([str(state.dtype), list(state.shape)]))
    if isinstance(state, dict):
        return checksum([each for pair in state.items() for each in pair])
    if isinstance(state, list | tuple):
        return zlib.crc32(repr([checksum(each) for each in state]).encode())
    return zlib.crc32(repr(state).encode())
