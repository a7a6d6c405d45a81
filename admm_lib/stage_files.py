"""Finished stages of training as files of the cache: weights, and where they come from."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from . import files, models
from .checkpoints import checksum


def started(file: Path, commit: str) -> list[str]:
    """The commits that worked on a stage so far, in order, with this one added; `file` keeps them."""
    commits = file.read_text().split() if file.exists() else []
    if commits[-1:] != [commit]:
        commits.append(commit)
    file.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(file, "\n".join(commits))
    return commits


def keep(network: nn.Module, path: Path, origin: dict[str, Any]) -> None:
    """Write a finished stage, its network and its origin, as a whole or not at all."""
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.replaced(path) as file:
        told = json.dumps(origin)
        file.write(save(tensors, metadata={"origin": told, "checksum": _checksum(tensors, told)}))


def kept(path: Path, model: str) -> tuple[nn.Module, dict[str, Any]]:
    """What `keep` wrote; ValueError with the file's name and the remedy where it is damaged."""
    network = models.create(model)
    try:
        tensors = load_file(path)
        network.load_state_dict(tensors)
        with safe_open(path, "pt") as file:
            told = file.metadata()
        if told.get("checksum", found := _checksum(tensors, told["origin"])) != found:  # older ones have none
            raise ValueError("it does not have its checksum")
        return network, json.loads(told["origin"])
    except (SafetensorError, AttributeError, RuntimeError, TypeError, KeyError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path} is damaged: delete it to train the stage again ({reason})") from error


def _checksum(tensors: dict[str, Tensor], origin: str) -> str:
    return str(checksum([dict(sorted(tensors.items())), origin]))
