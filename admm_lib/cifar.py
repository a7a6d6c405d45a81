"""CIFAR-10 as pixels: torchvision's own files, or an archive of JPEG copies of the images."""

import hashlib
import io
import lzma
import tarfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from . import files

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)  # of the training images, red, green, blue
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
ARCHIVE = "cifar10-jpeg.tar.xz"
HOST = "www.cs.toronto.edu"
SIZES = {"train": 50_000, "test": 10_000}
Pixels = dict[str, Tensor]  # images (N, 3, 32, 32) and labels (N,) in bytes, by part


def from_archive(folders: Sequence[Path]) -> tuple[Pixels, dict[str, str]]:
    """The images of the first cifar10-jpeg.tar.xz in `folders`, and its checksum.

    It holds cifar10/train/CLASS/NUMBER.jpg and cifar10/test/...; JPEG is lossy, so that these are not quite
    CIFAR-10. They are decoded once, and kept in the cache folder, 180 MB. Raises FileNotFoundError where
    there is none, ValueError where it is damaged.
    """
    path = next((folder / ARCHIVE for folder in folders if (folder / ARCHIVE).exists()), None)
    if path is None:
        raise FileNotFoundError(f"{ARCHIVE} is not in {' or '.join(map(str, folders))}")
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    cached = files.cache_folder() / f"cifar10-jpeg-{checksum[:16]}.safetensors"
    try:
        return load_file(cached), {ARCHIVE: checksum}
    except (FileNotFoundError, SafetensorError):
        pass  # nothing there, or what another program left: made again
    try:
        pixels = _decoded(path)
    except (tarfile.TarError, lzma.LZMAError, zlib.error, OSError, EOFError, ValueError, KeyError) as error:
        raise ValueError(f"{path} is damaged ({' '.join(str(error).split())[:200]})") from error
    cached.parent.mkdir(parents=True, exist_ok=True)
    with files.replaced(cached) as file:
        file.write(save(pixels))
    return pixels, {ARCHIVE: checksum}


def _decoded(path: Path) -> Pixels:
    """All images of the archive, in the order of their classes and names, which no archive can change."""
    from PIL import Image

    found: dict[tuple[str, int, str], np.ndarray] = {}
    with tarfile.open(path) as archive:
        for member in archive:
            if member.isfile():
                part, name, number = member.name.split("/")[-3:]
                image = Image.open(io.BytesIO(archive.extractfile(member).read())).convert("RGB")
                found[part, CLASSES.index(name), number] = np.asarray(image)
    pixels = {}
    for part, size in SIZES.items():
        keys = sorted(key for key in found if key[0] == part)
        if len(keys) != size or {found[key].shape for key in keys} != {(32, 32, 3)}:
            raise ValueError(f"{part} holds {len(keys)} images, where {size} of 32x32 pixels belong")
        images = torch.from_numpy(np.stack([found[key] for key in keys])).permute(0, 3, 1, 2).contiguous()
        pixels |= {f"{part}.images": images, f"{part}.labels": torch.tensor([key[1] for key in keys])}
    return pixels


def from_torchvision(
    folders: Sequence[Path], home: Path, reachable: Callable[[str], bool]
) -> tuple[Pixels, dict[str, str]]:
    """The images of torchvision's files in one of `folders`, or downloaded into `home`, and their checksums.

    Raises FileNotFoundError where they cannot be had, ValueError where they are damaged.
    """
    from ._torchvision import torchvision

    sets = torchvision().datasets.CIFAR10
    root = next((folder for folder in folders if (folder / sets.base_folder).is_dir()), None)
    if root is None:
        if reason := _missed(sets, home, reachable):
            places = " or ".join(str(folder / sets.base_folder) for folder in folders)
            raise FileNotFoundError(f"CIFAR-10 is not in {places}, and {reason}")
        root = home
    pixels = {}
    for part in SIZES:
        try:
            given = sets(root, train=part == "train")
        except RuntimeError as error:
            raise ValueError(f"{root / sets.base_folder} is damaged ({error})") from error
        pixels[f"{part}.images"] = torch.from_numpy(given.data).permute(0, 3, 1, 2).contiguous()
        pixels[f"{part}.labels"] = torch.tensor(given.targets)
    names = [name for name, _ in sets.train_list + sets.test_list]
    return pixels, {name: _sha256(root / sets.base_folder / name) for name in names}


def _missed(sets: Callable[..., object], home: Path, reachable: Callable[[str], bool]) -> str:
    """Why it could not be downloaded into `home`; nothing where it was."""
    if not reachable(HOST):
        return f"{HOST} cannot be reached"
    try:
        sets(home, download=True)
    except (OSError, RuntimeError) as error:
        return f"the download failed ({error})"
    return ""


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
