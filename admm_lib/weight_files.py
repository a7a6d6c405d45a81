"""The weights of a network from a file that others wrote: a state dict, as safetensors or by `torch.save`."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from .codec.network import difference


def load(model: nn.Module, path: str | Path) -> nn.Module:
    """`model`, which is changed in place, with the weights of a file; no code in the file is run.

    Raises ValueError, naming the file, where it holds no state dict, or other names or shapes than `model`,
    and FileNotFoundError where there is none.
    """
    path = Path(path)
    state = _read(path)
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            what = "tensor" if isinstance(name, str) else "name"
            raise ValueError(f"{path} holds {name}, which is no {what}: save model.state_dict() alone")
    own = {name: (tuple(value.shape),) for name, value in model.state_dict().items()}
    found = {name: (tuple(value.shape),) for name, value in state.items()}
    for name in [each for each in own if each.endswith("num_batches_tracked")]:
        found.setdefault(name, own[name])  # older files of batch norms lack it
    if problem := difference(own, found, "the network", path.name):
        raise ValueError(f"the network and {path} differ: {problem}")
    model.load_state_dict(state, strict=False)
    return model


def _read(path: Path) -> dict[Any, Any]:
    if path.is_dir():
        raise ValueError(f"{path} is a folder: name the file of weights in it")
    with path.open("rb") as file:
        safe = file.read(9)[8:] == b"{"  # after the length of safetensors' header
    try:
        state = load_file(path) if safe else torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # of many kinds, in many lines
        state = None
    if not isinstance(state, dict):
        raise ValueError(
            f"{path} is damaged, or no state dict: write one, torch.save(model.state_dict(), FILE), or "
            "safetensors"
        )
    return state
