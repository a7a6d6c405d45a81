"""CIFAR-10 from an archive of JPEG files and from torchvision's own files."""

import io
import tarfile
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image

from admm_lib import cifar, data
from admm_lib._torchvision import torchvision
from admm_lib.data import DataError


@pytest.fixture
def places(monkeypatch, tmp_path):
    """A data folder that ADMM_DATA names, a cache, and sets of 20 images for training and 10 for testing."""
    monkeypatch.setattr(data, "HOME", tmp_path / "home")
    monkeypatch.setattr(cifar, "SIZES", {"train": 20, "test": 10})
    monkeypatch.setenv("ADMM_DATA", str(tmp_path))
    monkeypatch.setenv("ADMM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(data, "_reachable", lambda host, **_: False)
    return tmp_path


def pictures():
    """Every image by name: one colour each, which JPEG keeps to a grey level or two."""
    found = {}
    for part, each in (("train", 2), ("test", 1)):
        for label, name in enumerate(cifar.CLASSES):
            for number in range(each):
                colour = (25 * label, 40 + 100 * number, 200 if part == "train" else 90)
                found[f"cifar10/{part}/{name}/{number:04}.jpg"] = colour
    return found


def written(folder, colours, size=(32, 32)):
    with tarfile.open(folder / cifar.ARCHIVE, "w:xz") as archive:
        for name, colour in colours.items():
            content = io.BytesIO()
            Image.new("RGB", size, colour).save(content, "JPEG", quality=95)
            member = tarfile.TarInfo(name)
            member.size = len(content.getvalue())
            content.seek(0)
            archive.addfile(member, content)


def test_the_archive_is_read_by_name_in_any_order(places):
    colours = pictures()
    written(places, dict(reversed(colours.items())))
    pixels, checksums = cifar.from_archive([places / "nothing", places])
    assert list(checksums) == [cifar.ARCHIVE]
    assert pixels["train.images"].shape == (20, 3, 32, 32)
    assert pixels["train.images"].dtype == torch.uint8
    assert pixels["train.labels"].tolist() == [label for label in range(10) for _ in range(2)]
    assert pixels["test.labels"].tolist() == list(range(10))
    expected = [colour for name, colour in colours.items() if "/train/" in name]
    found = pixels["train.images"].float().mean((2, 3))
    torch.testing.assert_close(found, torch.tensor(expected).float(), atol=3, rtol=0)


def test_it_is_decoded_once(places, monkeypatch):
    written(places, pictures())
    first, checksums = cifar.from_archive([places])
    monkeypatch.setattr(cifar, "_decoded", lambda path: pytest.fail("decoded again"))
    again, same = cifar.from_archive([places])
    assert checksums == same
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_a_damaged_cache_is_made_again(places):
    written(places, pictures())
    first, _ = cifar.from_archive([places])
    (cached,) = (places / "cache").iterdir()
    cached.write_bytes(cached.read_bytes()[:50])
    again, _ = cifar.from_archive([places])
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_load_gives_normalised_splits(places, monkeypatch):
    monkeypatch.setattr(data, "CIFAR_TRAIN", 15)
    written(places, pictures())
    found = data.load("cifar10-jpeg")
    assert [len(each) for each in (found.train, found.val, found.test)] == [15, 5, 10]
    assert (found.name, found.note) == ("cifar10-jpeg", "CIFAR-10 (JPEG)")
    assert list(found.checksums) == [cifar.ARCHIVE]
    assert found.test.targets.tolist() == list(range(10))
    mean, std = (torch.tensor(each).reshape(3, 1, 1) for each in (cifar.MEAN, cifar.STD))
    colours = 255 * (found.test.inputs * std + mean).mean((2, 3))
    expected = [colour for name, colour in pictures().items() if "/test/" in name]
    torch.testing.assert_close(colours, torch.tensor(expected).float(), atol=3, rtol=0)
    order = np.random.RandomState(0).permutation(20)
    labels = torch.tensor([label for label in range(10) for _ in range(2)])[order]
    assert torch.equal(torch.cat([found.train.targets, found.val.targets]), labels)


def test_half_of_the_classes_is_what_the_whole_has_of_them(places, monkeypatch):
    monkeypatch.setattr(data, "CIFAR_TRAIN", 15)
    written(places, pictures())
    whole = data.load("cifar10-jpeg")
    halves = data.load("cifar10-jpeg:0-4"), data.load("cifar10-jpeg:5-9")
    for name in ("train", "val", "test"):
        split = getattr(whole, name)
        for half, here in zip(halves, (split.targets < 5, split.targets >= 5), strict=True):
            assert torch.equal(getattr(half, name).inputs, split.inputs[here])
            assert torch.equal(getattr(half, name).targets, split.targets[here])
    assert halves[0].note == "CIFAR-10 (JPEG), classes 0 to 4"


def test_a_missing_archive_is_named_with_the_remedy(places):
    with pytest.raises(DataError, match=r"cifar10-jpeg\.tar\.xz is not in .*: put it there, or set"):
        data.load("cifar10-jpeg")


@pytest.mark.parametrize("harm", ["cut", "other bytes", "an image less", "a stranger", "larger images"])
def test_a_damaged_archive_is_named(places, harm):
    colours, size = pictures(), (32, 32)
    if harm == "an image less":
        colours.popitem()
    if harm == "a stranger":
        colours["cifar10/train/tapir/0000.jpg"] = (0, 0, 0)
    if harm == "larger images":
        size = (33, 32)
    written(places, colours, size)
    path = places / cifar.ARCHIVE
    if harm == "cut":
        path.write_bytes(path.read_bytes()[:-200])
    if harm == "other bytes":
        path.write_bytes(b"no archive at all")
    with pytest.raises(DataError, match=r"jpeg\.tar\.xz is damaged .*: delete it, and fetch it again"):
        data.load("cifar10-jpeg")
    assert not (places / "cache").exists()


@pytest.mark.parametrize("packing", ["xz", "gz"])  # a name says nothing to tarfile
def test_an_archive_that_is_damaged_behind_its_beginning_is_named(places, packing):
    content = np.random.RandomState(0).randint(0, 16, 200_000).astype(np.uint8).tobytes()
    path = places / cifar.ARCHIVE
    with tarfile.open(path, f"w:{packing}") as archive:
        member = tarfile.TarInfo("cifar10/train/cat/0000.jpg")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2 :: 5] = bytes(len(damaged[len(damaged) // 2 :: 5]))
    path.write_bytes(damaged)
    with pytest.raises(DataError, match=r"jpeg\.tar\.xz is damaged .*: delete it, and fetch it again"):
        data.load("cifar10-jpeg")


def test_cifar10_that_cannot_be_had_is_named_with_its_place(places):
    with pytest.raises(DataError, match=r"cifar-10-batches-py, and www\.cs\.toronto\.edu cannot be reached"):
        data.load("cifar10")


@pytest.mark.parametrize("error", [URLError("no route to host"), RuntimeError("File not found")])
def test_a_download_that_fails_is_told_with_the_remedy(places, monkeypatch, error):
    class Failing(torchvision().datasets.CIFAR10):
        def __init__(self, root, download):
            raise error

    monkeypatch.setattr(data, "_reachable", lambda host, **_: True)
    monkeypatch.setattr(torchvision().datasets, "CIFAR10", Failing)
    with pytest.raises(DataError, match=r"cifar-10-batches-py, and the download failed \(.*\): put it there"):
        data.load("cifar10")


def test_damaged_files_of_torchvision_are_named(places):
    (places / "cifar-10-batches-py").mkdir()
    (places / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"damaged")
    with pytest.raises(DataError, match="cifar-10-batches-py is damaged"):
        data.load("cifar10")


@pytest.mark.full
def test_the_archive_itself():
    try:
        found = data.load("cifar10-jpeg")
    except DataError as missing:
        pytest.skip(str(missing))
    assert [len(each) for each in (found.train, found.val, found.test)] == [45_000, 5_000, 10_000]
    assert found.test.targets.bincount().tolist() == [1000] * 10
    both = torch.cat([found.train.inputs, found.val.inputs])
    assert both.mean((0, 2, 3)).tolist() == pytest.approx([0, 0, 0], abs=0.01)
    assert both.std((0, 2, 3)).tolist() == pytest.approx([1, 1, 1], abs=0.02)
