"""Folders of images, one folder for each class, read and cut out by worker processes: ImageNet, or your own.

`loaders(folder)` gives what `fit` and `evaluate` take. Started by `torchrun` or `fabric run`, each process
reads its own share of the training images, and all of the validation images.
"""

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from PIL import Image, UnidentifiedImageError
from torch.utils.data import DataLoader, DistributedSampler

from ._torchvision import torchvision
from .data import DataError
from .distributed import launched, rank

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as torchvision's networks expect
MARGIN = 256 / 224  # of the shorter side of a validation image, before the middle is cut out


class ImageError(DataError):
    """A file cannot be read as an image; the message names it and the remedy.

    Of an error in a worker process torch hands on the traceback as text, of which the last line is kept.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text.rpartition(f"{__name__}.ImageError: ")[2].rstrip())


@dataclass(frozen=True)
class Loaders:
    """Training and validation batches, and the classes in the order of their labels."""

    train: DataLoader
    val: DataLoader
    classes: tuple[str, ...]


def loaders(
    folder: str | Path, batch_size: int = 256, workers: int | None = None, size: int = 224, seed: int = 0
) -> Loaders:
    """Batches of (N, 3, size, size), normalised as torchvision's trained networks expect.

    `folder` holds `train` and `val`, and each of these a folder of images for every class. Training images
    are cut at random and mirrored, of the others the middle is taken. `batch_size` is that of all processes
    together; `workers` read for each process, by default one for each of its cores, up to 16. Order and cuts
    follow from `fit`'s seed; `seed` is that by which several processes deal out the images. Raises
    DataError, naming the folder, where one is missing or empty, or where `val` has a class that `train` has
    not; ValueError for a batch size that the processes cannot share or the images cannot fill, and a size or
    workers below 0. Reading a file that is no image raises ImageError.
    """
    world = launched()
    if batch_size < 1 or batch_size % world or size < 1 or (workers is not None and workers < 0):
        raise ValueError(
            f"batch_size is 1 or more, and as many for each of {world} processes, size 1 or more and workers "
            f"0 or more, but they are {batch_size}, {size} and {workers}"
        )
    train = _images(Path(folder) / "train", size, moved=True)
    own, sampler = batch_size // world, None
    val = validation(folder, own, workers, size)
    if len(train) < batch_size:
        raise ValueError(f"{len(train)} training images make no batch of {batch_size}: lower batch_size")
    if world > 1:
        sampler = DistributedSampler(train, world, rank(), seed=seed)
    # Workers of each epoch are made anew, so that what they draw follows from its seed, wherever a run began.
    mixed = {"shuffle": sampler is None, "sampler": sampler, "worker_init_fn": partial(_apart, rank())}
    common = {"num_workers": val.num_workers, "pin_memory": val.pin_memory}
    return Loaders(DataLoader(train, own, drop_last=True, **mixed, **common), val, tuple(train.classes))


def validation(
    folder: str | Path, batch_size: int = 256, workers: int | None = None, size: int = 224
) -> DataLoader:
    """The validation batches of `loaders` alone, with its errors; `train` may be missing."""
    if workers is None:
        workers = min(16, max(1, (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
    images = _images(Path(folder) / "val", size, moved=False)
    train = Path(folder) / "train"
    others = torchvision().datasets.folder.find_classes(train)[0] if train.is_dir() else images.classes
    if odd := sorted(set(images.classes) ^ set(others)):  # labels are places in the list of classes
        raise DataError(f"train and val in {folder} have other classes, such as {odd[0]}: make them agree")
    return DataLoader(
        images, batch_size, num_workers=workers, pin_memory=torch.cuda.is_available(),
        persistent_workers=workers > 0,
    )  # fmt: skip


def check(images: Loaders) -> None:
    """Read every image once, each of several processes its share. Raises DataError, naming broken ones."""
    whole = [path for each in (images.train, images.val) for path, _ in each.dataset.samples]
    own = whole[rank() :: launched()]
    found = DataLoader(own, 64, num_workers=images.train.num_workers, collate_fn=_broken)
    broken = [path for paths in found for path in paths]
    if len(broken) == 1:
        _read(broken[0])
    elif broken:
        named = ", ".join([*broken[:3], "..."] if len(broken) > 3 else broken)
        raise DataError(
            f"{len(broken)} files cannot be read as images, {named}: replace them by whole ones, or delete "
            "them"
        )


def _broken(paths: list[str]) -> list[str]:
    """Those that are no images."""
    found = []
    for path in paths:
        try:
            _read(path)
        except ImageError:
            found.append(path)
    return found


def _read(path: str) -> Image.Image:
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except Exception as error:  # Pillow raises many kinds
        reason = " ".join(str(error).split())[:200]
        why = "" if isinstance(error, UnidentifiedImageError) else f" ({reason})"
        raise ImageError(
            f"{path} cannot be read as an image{why}: replace it by a whole one, or delete it"
        ) from None


def _apart(process: int, _: int) -> None:
    """Workers of different processes draw different cuts."""
    torch.manual_seed(torch.initial_seed() + 1_000_003 * process)


def _images(folder: Path, size: int, moved: bool) -> torch.utils.data.Dataset:
    parts = torchvision()
    to = parts.transforms
    steps = (
        [to.RandomResizedCrop(size), to.RandomHorizontalFlip()]
        if moved
        else [to.Resize(round(size * MARGIN)), to.CenterCrop(size)]
    )
    whole = to.Compose([*steps, to.ToTensor(), to.Normalize(MEAN, STD)])
    try:
        return parts.datasets.ImageFolder(folder, whole, loader=_read)
    except FileNotFoundError as error:
        where = f"{folder}: it needs a folder of images for each class"
        raise DataError(f"cannot read {where} ({' '.join(str(error).split())[:200]})") from None
