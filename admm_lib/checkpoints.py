"""The state of a training run in a file, so that a killed run goes on where it was."""

import os
from pathlib import Path
from typing import Any, Protocol

import torch


class Stateful(Protocol):
    """A model, an optimizer, a schedule, an ADMM: whatever has a state to keep."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> object: ...


class Checkpoint:
    """All `parts` of a run, written to `path` as a whole or not at all."""

    def __init__(self, path: Path, parts: dict[str, Stateful | None]) -> None:
        self.path = Path(path)
        self.parts = {name: part for name, part in parts.items() if part is not None}

    def write(self, **more: Any) -> None:
        """Keep the state as it is now, and `more`: plain numbers, strings, lists and tensors."""
        state = {name: part.state_dict() for name, part in self.parts.items()}
        partial = self.path.with_suffix(f".{os.getpid()}")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"parts": state, "more": more}, partial)
        os.replace(partial, self.path)

    def read(self) -> dict[str, Any]:
        """Put everything back to where it was, and give what was kept as `more`; {} without a file.

        Raises ValueError, naming the file and the remedy, where it is damaged or belongs to another run.
        """
        if not self.path.exists():
            return {}
        try:
            found = torch.load(self.path, weights_only=True)
            for name, part in self.parts.items():
                part.load_state_dict(found["parts"][name])
            return found["more"]
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise ValueError(
                f"{self.path} is damaged or belongs to another run: delete it to start over ({reason})"
            ) from error
