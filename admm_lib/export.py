"""A network as an ONNX file, checked in ONNX Runtime against the network itself."""

import copy
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from . import files
from .holding import bake

TOLERANCE = 1e-4  # of the largest output


def to_onnx(model: nn.Module, inputs: Tensor | tuple[Tensor, ...], path: str | Path) -> Path:
    """Write the network in eval mode, plain, as an ONNX file for any batch size; returns `path`.

    See `content`, which raises ValueError before there is a file. FileNotFoundError where the folder is
    missing.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent}")
    found = content(model, inputs)
    with files.replaced(path) as file:
        file.write(found)
    return path


@torch.no_grad()
def content(model: nn.Module, inputs: Tensor | tuple[Tensor, ...]) -> bytes:
    """What an ONNX file of the network holds, checked.

    `inputs` is a batch or a tuple of the arguments of `forward`, each with the examples along its first
    dimension. It is run on them in ONNX Runtime: ValueError where its outputs differ from those of the
    network by more than rounding, or where the network cannot be exported, or gives anything but tensors. The
    model is not changed.
    """
    import onnxruntime

    given = inputs if isinstance(inputs, tuple) else (inputs,)
    network = bake(copy.deepcopy(model)).eval()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own deprecations, and advice on names
            axes = tuple({0: "batch"} for _ in given)
            program = torch.onnx.export(network, given, dynamo=True, dynamic_shapes=axes, verbose=False)
    except Exception as error:  # whatever the exporter makes of a network that it does not know
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"the network cannot be exported to ONNX: {reason}") from error
    found = program.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(found, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    outputs = session.run(None, {name: each.cpu().numpy() for name, each in zip(names, given, strict=True)})
    expected = network(*given)
    expected = list(expected) if isinstance(expected, (tuple, list)) else [expected]
    if odd := [each for each in expected if not isinstance(each, Tensor)]:
        told = f"it gives a {type(odd[0]).__name__}, where a tensor or a tuple of tensors belongs"
        raise ValueError(f"the network cannot be exported to ONNX: {told}")
    for theirs, ours in zip(outputs, expected, strict=True):
        apart = (torch.from_numpy(theirs) - ours.cpu()).abs().max()
        if not apart <= TOLERANCE * ours.abs().max().clamp_min(1e-6).cpu():
            raise ValueError(f"ONNX Runtime computes something else: outputs are up to {_shown(apart)} apart")
    return found


def _shown(number: Any) -> str:
    return f"{float(number):.2g}"
