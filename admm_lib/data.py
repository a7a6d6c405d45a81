"""Data sets with fixed splits, held as normalised tensors on the device.

A small data set in memory needs no loader: a batch is an index selection. Larger ones go through
`torch.utils.data.DataLoader`, which `fit` and `evaluate` accept just as well.
"""

import hashlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from . import cifar, files
from .augment import Augment, Shifts


def _home() -> Path:
    """data/ of the checkout; where the library was installed without one, a folder of the user's cache."""
    checkout = Path(__file__).resolve().parent.parent / "data"
    return checkout if (checkout / "README.md").is_file() else files.cache_folder() / "data"


HOME = _home()
MEAN, STD = 0.1307, 0.3081  # of MNIST's training images, as everybody uses them
MNIST_SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
CIFAR = {  # by name, as they are called in text
    "cifar10": "CIFAR-10",
    "cifar10-jpeg": "CIFAR-10 (JPEG)",
    "cifar10-jpeg:0-4": "CIFAR-10 (JPEG), classes 0 to 4",
    "cifar10-jpeg:5-9": "CIFAR-10 (JPEG), classes 5 to 9",
}
NAMES = ("auto", "mnist", "digits", *CIFAR)
CIFAR_TRAIN = 45_000  # of the 50,000 training images; the rest is for validation
MNIST_HOST = "ossci-datasets.s3.amazonaws.com"  # torchvision's first mirror


class DataError(RuntimeError):
    """A data set is missing or damaged; the message names the file and the remedy."""


@dataclass(frozen=True)
class Split:
    """Inputs (N, ...) and targets (N,) of one split, on one device.

    >>> split = al.data.Split(torch.zeros(5, 2), torch.arange(5))
    >>> [len(targets) for _, targets in split.batches(2)]
    [2, 2, 1]
    """

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def __repr__(self) -> str:
        return f"Split({len(self):,} examples of {' x '.join(map(str, self.inputs.shape[1:]))})"

    def batches(
        self, size: int, generator: torch.Generator | None = None, augment: Augment | None = None,
        *also: Tensor,
    ) -> Iterator[tuple[Tensor, ...]]:  # fmt: skip
        """Tuples (inputs, targets) of at most `size` examples: in order, or shuffled by `generator`.

        `augment(inputs, generator)` is applied per batch and needs the generator. The rows of `also`,
        tensors with one row per example, follow the targets; under `Shifts`, the only augmentation that they
        go with, they have a row for each move, (N, moves, ...), and that of the move drawn follows. Raises
        ValueError for a size below 1, an augmentation without a generator, and rows with another one.
        """
        if size < 1:
            raise ValueError(f"a batch holds at least 1 example, not {size}")
        if augment is not None and generator is None:
            raise ValueError("augment= draws random numbers: pass generator= as well")
        order = None
        if generator is not None:  # drawn on the generator's device, so that every device sees one order
            order = torch.randperm(len(self), generator=generator).to(self.targets.device)
        for start in range(0, len(self), size):
            rows = slice(start, start + size) if order is None else order[start : start + size]
            inputs, targets = self.inputs[rows], self.targets[rows]
            more = [each[rows] for each in also]
            if augment is None:
                yield inputs, targets, *more
            elif not also:
                yield augment(inputs, generator), targets
            else:
                if not isinstance(augment, Shifts):
                    raise ValueError(f"rows beside the targets go with Shifts alone, not with {augment!r}")
                moves = augment.draw(len(inputs), generator)
                own = torch.arange(len(inputs), device=inputs.device), moves.to(inputs.device)
                yield augment.moved(inputs, moves), targets, *(each[own] for each in more)

    def subset(self, size: int) -> "Split":
        """The first `size` examples (splits are shuffled once, so they are a fair sample)."""
        return Split(self.inputs[:size], self.targets[:size])


@dataclass(frozen=True)
class Data:
    """A data set: fixed train, validation and test splits, and one line that says where it came from."""

    name: str
    train: Split
    val: Split
    test: Split
    note: str
    checksums: dict[str, str] = field(default_factory=dict, repr=False)

    def __repr__(self) -> str:
        return f"{self.note}: {len(self.train):,} train / {len(self.val):,} val / {len(self.test):,} test"


def load(name: str = "auto", root: str | Path | None = None, device: str | torch.device = "cpu") -> Data:
    """A data set by name: "mnist", "digits", or "auto" (MNIST where it can be had, else digits); "cifar10".

    Images are (N, 1, 28, 28) floats, normalised by mean 0.1307 and standard deviation 0.3081. MNIST is
    looked for in `root` alone where that is given, else in $ADMM_DATA and data/, and then downloaded into
    data/ by torchvision; splits are 55,000 / 5,000 / 10,000. digits are scikit-learn's 1,797 8x8 digits
    resized; 1,197 / 300 / 300.
    "cifar10" is looked for in the same places: (N, 3, 32, 32), normalised by colour, see `cifar`; 45,000 /
    5,000 / 10,000. "cifar10-jpeg" is an archive of JPEG copies of it, which are not quite the same images;
    "cifar10-jpeg:0-4" and "cifar10-jpeg:5-9" are half of its classes each, labelled as in the whole.
    Raises ValueError for an unknown name, DataError for a missing or damaged file, and for an $ADMM_DATA
    that is no folder.

    >>> al.data.load("digits")
    scikit-learn digits, resized to 28x28: 1,197 train / 300 val / 300 test
    """
    if name not in NAMES:
        raise ValueError(f"unknown data set {name!r}: choose one of {', '.join(NAMES)}")
    if name == "digits":
        return _digits(device, "scikit-learn digits, resized to 28x28")
    if name in CIFAR:
        return _cifar(name, root, device)
    try:
        return _mnist(_find_mnist(root, asked=name == "mnist"), device)
    except _NotFound as missing:
        if name == "mnist":
            raise DataError(str(missing)) from None
        return _digits(device, "MNIST cannot be had here, so scikit-learn digits, resized to 28x28")


class _NotFound(Exception):
    """MNIST is nowhere on this machine and cannot be downloaded."""


def _folders(root: str | Path | None) -> list[Path]:
    """Where a data set is looked for."""
    places = [root] if root is not None else [os.environ.get("ADMM_DATA"), HOME]
    folders = [Path(place) for place in places if place]
    if root is None and len(folders) > 1 and not folders[0].is_dir():
        raise DataError(f"ADMM_DATA is {folders[0]}, which is no folder: correct it, or unset it")
    return folders


def _find_mnist(root: str | Path | None, asked: bool = True) -> Path:
    folders = _folders(root)
    for folder in folders:
        if any((folder / "MNIST" / "raw" / name).exists() for name in MNIST_SHA256):
            return folder  # an empty folder is what a failed download leaves
    if root is None and _reachable(MNIST_HOST, remember=not asked):
        from ._torchvision import torchvision  # half a second that only a download needs

        try:
            torchvision().datasets.MNIST(HOME, download=True)
            return HOME
        except (OSError, RuntimeError) as error:
            reason = f"the download failed ({error})"
    else:
        reason = f"{MNIST_HOST} cannot be reached" if root is None else "it is not there"
    raise _NotFound(
        f"MNIST is not in {' or '.join(str(f / 'MNIST' / 'raw') for f in folders)}, and {reason}: put the "
        f'four files named in data/README.md there, or set ADMM_DATA, or use load("digits")'
    )


def _reachable(host: str, wait: float = 5.0, remember: bool = True) -> bool:
    """Whether `host` answers within `wait` seconds; a "no" is remembered for an hour, across processes.

    The memory is a file for each host, data/.unreachable-HOST, and is not asked where `remember` is False.
    """
    remembered = HOME / f".unreachable-{host}"
    if remember and remembered.exists() and time.time() - remembered.stat().st_mtime < 3600:
        return False
    if _answers(host, wait):
        return True
    with suppress(OSError):  # a read-only checkout only loses the memory
        remembered.touch()
    return False


def _answers(host: str, wait: float) -> bool:
    answered = threading.Event()

    def connect() -> None:
        with suppress(OSError):
            socket.create_connection((host, 443), timeout=wait).close()
            answered.set()

    # The timeout above is per address, and looking up the name has none: so wait for a thread instead.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(wait)
    return answered.is_set()


def _mnist(root: Path, device: str | torch.device) -> Data:
    checksums = {name: _verify(root / "MNIST" / "raw" / name) for name in MNIST_SHA256}
    from ._torchvision import torchvision

    train, test = (torchvision().datasets.MNIST(root, train=train) for train in (True, False))
    images, held = _shuffled(train.data, train.targets, 55_000)
    parts = (_split(*each, device) for each in (images, held, (test.data, test.targets)))
    return Data("mnist", *parts, "MNIST", checksums)


def _shuffled(images: Tensor, labels: Tensor, first: int) -> tuple[tuple[Tensor, Tensor], ...]:
    """All examples in one fixed random order: the first of them, and the rest, for validation."""
    order = torch.from_numpy(np.random.RandomState(0).permutation(len(labels)))
    images, labels = images[order], labels[order]
    return (images[:first], labels[:first]), (images[first:], labels[first:])


def _cifar(name: str, root: str | Path | None, device: str | torch.device) -> Data:
    folders = _folders(root)
    whole, _, classes = name.partition(":")
    try:
        if whole == "cifar10-jpeg":
            pixels, checksums = cifar.from_archive(folders)
        else:
            asked = partial(_reachable, remember=False)  # there is no other set to take in its place
            pixels, checksums = cifar.from_torchvision(folders, HOME, asked)
    except FileNotFoundError as error:
        raise DataError(f"{error}: put it there, or set ADMM_DATA to the folder that has it") from None
    except ValueError as error:
        raise DataError(f"{error}: delete it, and fetch it again") from None
    mean, std = (torch.tensor(each).reshape(3, 1, 1) for each in (cifar.MEAN, cifar.STD))
    train, val = _shuffled(pixels["train.images"], pixels["train.labels"], CIFAR_TRAIN)
    parts = (train, val, (pixels["test.images"], pixels["test.labels"]))
    if classes:
        first, last = map(int, classes.split("-"))
        parts = [(x[(y >= first) & (y <= last)], y[(y >= first) & (y <= last)]) for x, y in parts]
    splits = [Split(((x / 255 - mean) / std).to(device), y.long().to(device)) for x, y in parts]
    return Data(name, *splits, CIFAR[name], checksums)


def _verify(path: Path) -> str:
    """The file's SHA-256; raises DataError when it is missing, unreadable or not the published one."""
    remedy = f"delete the folder {path.parent} and load again, or fetch the file as data/README.md says"
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"cannot read {path} ({error.strerror}): {remedy}") from None
    if found != MNIST_SHA256[path.name]:
        raise DataError(f"{path} is damaged (its SHA-256 starts {found[:8]}): {remedy}")
    return found


def _digits(device: str | torch.device, note: str) -> Data:
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    order = np.random.RandomState(0).permutation(len(labels))
    images = torch.from_numpy(pixels[order].reshape(-1, 1, 8, 8) / 16).float()
    # 8x8 digits fill their frame; MNIST's sit in a 20x20 box with a margin of 4.
    images = F.pad(F.interpolate(images, size=(20, 20), mode="bilinear", align_corners=False), [4] * 4)
    images, labels = images * 255, torch.from_numpy(labels[order])
    parts = (slice(0, 1197), slice(1197, 1497), slice(1497, None))
    return Data("digits", *(_split(images[p], labels[p], device) for p in parts), note)


def _split(images: Tensor, labels: Tensor, device: str | torch.device) -> Split:
    normalised = (images.reshape(-1, 1, 28, 28).float() / 255 - MEAN) / STD
    return Split(normalised.to(device), labels.long().to(device))
