"""What is asked of an `.admm` file from outside: what is in it, how right it is, the same as ONNX."""

import importlib
import os
import re
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from . import codec, data, export, models, storage
from .codec import Contents
from .evaluation import Evaluation, evaluate, in_eval_mode

GREY, COLOUR = (1, 28, 28), (3, 32, 32)  # the images that the library's own networks take


def named(path: str) -> nn.Module:
    """The network that a function or class `module:name` makes; modules are looked for here first.

    Those of torchvision in `imagenet.NETWORKS` go by their name alone, and have random weights. Raises
    ValueError where there is no such thing, or it makes no network.
    """
    module, _, name = path.partition(":")
    if not name:
        from . import imagenet  # with all that trains, which other questions do not need

        if path in imagenet.NETWORKS:
            return imagenet.untrained(path)
        raise ValueError(
            "--network names a module and what makes the network, as mynet:MyNet, or one of "
            f"{', '.join(imagenet.NETWORKS)}, not {path!r}"
        )
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        made = getattr(importlib.import_module(module), name)()
    except (ImportError, AttributeError, TypeError) as error:
        remedy = "; write mynet:MyNet for MyNet in mynet.py of this folder" if "." in module else ""
        raise ValueError(f"--network {path}: {error}{remedy}") from None
    if not isinstance(made, nn.Module):
        raise ValueError(f"--network {path} makes a {type(made).__name__}, no network")
    return made


def describe(path: str | Path, network: nn.Module | None = None) -> str:
    """What is in a file, as text: what it came from, a line per tensor, and the ladder, down to the file.

    The ladder, and the order of the tensors, need the network: one that the file names, or `network`; without
    it they are by name. Raises CodecError as `codec.load`.
    """
    path = Path(path)
    content = path.read_bytes()
    said = _contents(path, content)
    lines = [f"{path.name}: {len(content):,} bytes, {_origin(said)}; format {said.version}", ""]
    lines.append(f"{'tensor':<24}{'shape':>18}{'elements':>13}{'kept':>12}{'ratio':>9}  stored as")
    model = None if network is None and said.identity is None else codec.load(path, network)
    entries = {entry.name: entry for entry in said.entries}
    for name in sorted(entries, key=_by_number) if model is None else codec.plain_state(model):
        entry = entries[name]
        shape = " x ".join(map(str, entry.shape)) or "a number"
        kept = entry.keep if entry.stored_positions else entry.numel
        ratio = f"{entry.numel / kept:,.1f}x" if kept else "none"
        told = entry.name if entry.name.isprintable() else repr(entry.name)  # it may come from a stranger
        lines.append(f"{told:<24}{shape:>18}{entry.numel:>13,}{kept:>12,}{ratio:>9}  {entry.stored_as}")
    if model is None:
        return "\n".join([*lines, "", "Their order and the ladder need the network: --network mynet:MyNet"])
    lines += ["", str(storage.ladder(model))]
    if (now := len(codec.encode(model))) != len(content):
        lines.append(f"(as written today: {now:,} bytes)")
    return "\n".join(lines)


def _by_number(name: str) -> list[tuple[int, str]]:
    """A key to sort names by, in which numbers count: conv2 before conv10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _loaded(path: str | Path, network: nn.Module | None) -> nn.Module:
    path = Path(path)
    if network is None and _contents(path, path.read_bytes()).identity is None:
        raise ValueError(f"{path.name} does not say what network it is: give --network mynet:MyNet")
    return codec.load(path, network)


def check_images(model: nn.Module, size: int, classes: int) -> None:
    """Raises ValueError unless the network takes colour images of that size, and has an output per class."""
    outputs = _try(model, torch.zeros(1, 3, size, size), "; --size gives them another side")
    found = _sizes(outputs) if isinstance(outputs, Tensor) else type(outputs).__name__
    if not found.isdecimal() or int(found) < classes:
        raise ValueError(f"the network has {found} outputs for {classes} classes")


@torch.no_grad()
def _try(model: nn.Module, inputs: Tensor, remedy: str = "") -> Tensor:
    try:
        with in_eval_mode(model):
            return model(inputs)
    except (RuntimeError, AssertionError) as error:  # transformers of images assert their size
        reason = str(error).partition("\n")[0] + remedy
        raise ValueError(f"the network does not take examples of {_sizes(inputs)}: {reason}") from None


def _sizes(examples: Tensor) -> str:
    return " x ".join(map(str, examples.shape[1:]))


def _contents(path: Path, content: bytes) -> Contents:
    try:
        return codec.contents(content)
    except codec.CodecError as error:
        raise codec.CodecError(f"{path.name}: {error}") from None


def _origin(said: Contents) -> str:
    if said.identity is None:
        return "a network that the file does not name"
    name, arguments = said.identity
    text = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    return f"{name}({text})" + (f", cut from {said.reference:,} weights" if said.reference else "")


def measure(
    path: str | Path, dataset: str = "auto", split: str = "val", network: nn.Module | None = None
) -> tuple[Evaluation, str]:
    """Loss and accuracy of the network in a file on a split of a data set, and what the set is.

    Raises ValueError for images that the network does not take, DataError where the set cannot be had.
    """
    model = _loaded(path, network)
    name = getattr(model, "architecture", (None,))[0]
    if dataset == "auto" and name in models.OF_COLOUR:
        dataset = next(iter(data.CIFAR))
    images = data.load(dataset)
    examples = getattr(images, split)
    _try(model, examples.inputs[:1])
    return evaluate(model, examples), f"{images.name}, {len(examples):,} images of {split}"


def measure_on_folder(
    path: str | Path, folder: str | Path, size: int = 224, network: nn.Module | None = None
) -> tuple[Evaluation, str]:
    """Loss and accuracy of the network in a file on a folder's validation images, and what they are.

    Raises ValueError for images that the network does not take, DataError as `image_folder.validation`.
    """
    from . import image_folder
    from .training import training_device

    model = _loaded(path, network)
    images = image_folder.validation(folder, size=size)
    check_images(model, size, len(images.dataset.classes))
    found = evaluate(model.to(training_device()), images)
    return found, f"{folder}, {len(images.dataset):,} images of val"


def to_onnx(
    path: str | Path, target: str | Path, shape: tuple[int, ...] | None = None,
    network: nn.Module | None = None,
) -> Path:  # fmt: skip
    """The network in a file as an ONNX file, checked in ONNX Runtime; returns `target`.

    `shape` is that of one example, for networks that are not the library's own. ValueError without one.
    """
    model = _loaded(path, network)
    name = getattr(model, "architecture", (None,))[0]
    if shape is None and name is None:
        raise ValueError("say what one example looks like, as in --shape 3,32,32")
    shape = shape or (COLOUR if name in models.OF_COLOUR else GREY)
    inputs = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    _try(model, inputs)
    return export.to_onnx(model, inputs, target)
