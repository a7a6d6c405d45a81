"""MNIST missing, damaged or out of reach: what `load` then says or does."""

import hashlib
import os
import re
import socket
import time
from threading import Event

import pytest

from admm_lib import cifar, data
from admm_lib._torchvision import torchvision
from admm_lib.data import DataError


@pytest.fixture(autouse=True)
def no_network(monkeypatch, tmp_path):
    """Nothing here may open a connection, or remember one in the real data folder."""

    def refuse(*arguments, **options):
        raise AssertionError("a test tried to use the network")

    monkeypatch.setattr(socket, "create_connection", refuse)
    return refuse


@pytest.fixture
def empty_home(monkeypatch, tmp_path):
    """A data folder with nothing in it, and no ADMM_DATA."""
    monkeypatch.setattr(data, "HOME", tmp_path)
    monkeypatch.delenv("ADMM_DATA", raising=False)
    return tmp_path


@pytest.fixture
def fake_mnist(monkeypatch, tmp_path):
    """Four small files with checksums of their own, in a folder that ADMM_DATA names."""
    raw = tmp_path / "given" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    sums = {}
    for name in data.MNIST_SHA256:
        (raw / name).write_bytes(content := (name * 50).encode())
        sums[name] = hashlib.sha256(content).hexdigest()
    monkeypatch.setattr(data, "MNIST_SHA256", sums)
    monkeypatch.setattr(data, "HOME", tmp_path / "home")
    monkeypatch.setenv("ADMM_DATA", str(tmp_path / "given"))
    return raw


@pytest.mark.parametrize("name", ["mnist", "auto"])
@pytest.mark.parametrize("file", data.MNIST_SHA256)
def test_one_flipped_byte_is_found_and_named(fake_mnist, name, file):
    content = bytearray((fake_mnist / file).read_bytes())
    content[17] ^= 1
    (fake_mnist / file).write_bytes(content)
    with pytest.raises(DataError) as caught:
        data.load(name)
    message = str(caught.value)
    assert message.startswith(f"{fake_mnist / file} is damaged")
    assert f"delete the folder {fake_mnist} and load again" in message
    assert "data/README.md" in message
    assert "\n" not in message


@pytest.mark.parametrize("name", ["mnist", "auto"])
def test_one_missing_file_is_named(fake_mnist, name):
    (fake_mnist / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match=r"cannot read .*t10k-labels-idx1-ubyte \(No such file"):
        data.load(name)


def test_undamaged_files_pass(fake_mnist):
    for name, expected in data.MNIST_SHA256.items():
        assert data._verify(fake_mnist / name) == expected


def test_root_comes_before_the_environment_and_is_the_only_place(fake_mnist, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "_reachable", None)  # would fail if called
    assert data._find_mnist(None) == tmp_path / "given"
    with pytest.raises(DataError, match=r"MNIST is not in .*elsewhere.*, and it is not"):
        data.load("mnist", root=tmp_path / "elsewhere")


def test_without_network_auto_is_digits_and_mnist_says_what_to_do(empty_home, monkeypatch):
    monkeypatch.setattr(data, "_reachable", lambda host, **_: False)
    found = data.load("auto")
    assert found.name == "digits"
    assert found.note.startswith("MNIST cannot be had here, so scikit-learn digits")
    with pytest.raises(DataError) as caught:
        data.load("mnist")
    message = str(caught.value)
    assert "cannot be reached" in message
    assert str(empty_home / "MNIST" / "raw") in message
    for remedy in ("data/README.md", "ADMM_DATA", 'load("digits")'):
        assert remedy in message
    assert "\n" not in message


def test_a_failed_download_leaves_auto_working(empty_home, monkeypatch):
    """torchvision makes the folder before it downloads: an empty folder is no MNIST."""
    def fail(root, download):
        (root / "MNIST" / "raw").mkdir(parents=True, exist_ok=True)
        raise RuntimeError("Error downloading train-images-idx3-ubyte.gz")

    monkeypatch.setattr(data, "_reachable", lambda host, **_: True)
    monkeypatch.setattr(torchvision().datasets, "MNIST", fail)
    for _ in range(2):
        assert data.load("auto").name == "digits"
        with pytest.raises(DataError, match="the download failed"):
            data.load("mnist")


def test_a_download_goes_into_the_data_folder(empty_home, monkeypatch):
    made = []
    monkeypatch.setattr(data, "_reachable", lambda host, **_: True)
    monkeypatch.setattr(
        torchvision().datasets, "MNIST", lambda root, download: made.append((root, download))
    )
    assert data._find_mnist(None) == empty_home
    assert made == [(empty_home, True)]


def test_the_network_is_tried_once_and_remembered(empty_home, monkeypatch):
    calls = []

    def refuse(address, timeout):
        calls.append((address, timeout))
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", refuse)
    for _ in range(3):
        assert data.load("auto").name == "digits"
    assert calls == [((data.MNIST_HOST, 443), 5.0)]
    an_hour_ago = time.time() - 3601
    os.utime(empty_home / f".unreachable-{data.MNIST_HOST}", (an_hour_ago, an_hour_ago))
    data.load("auto")
    assert len(calls) == 2


def test_each_host_is_remembered_by_itself_and_a_set_asked_for_by_name_is_always_tried(
    empty_home, monkeypatch
):
    tried = []
    monkeypatch.setattr(data, "_answers", lambda host, wait: tried.append(host))
    data.load("auto")
    for name, host in (("mnist", data.MNIST_HOST), ("cifar10", cifar.HOST), ("cifar10", cifar.HOST)):
        with pytest.raises(DataError, match=f"{re.escape(host)} cannot be reached"):
            data.load(name)
    data.load("auto")
    assert tried == [data.MNIST_HOST, data.MNIST_HOST, cifar.HOST, cifar.HOST]
    assert not data._reachable("host.invalid")
    assert tried[-1] == "host.invalid"


def test_a_folder_that_cannot_be_written_costs_only_the_memory(empty_home, monkeypatch):
    monkeypatch.setattr(data, "HOME", empty_home / "nowhere")
    monkeypatch.setattr(data, "_answers", lambda host, wait: False)
    assert not data._reachable("host.invalid")


def test_a_silent_network_is_given_up_in_time(empty_home, monkeypatch):
    """Looking up a name and trying several addresses may each take their own time."""
    released = Event()

    def hang(*arguments, **options):
        released.wait(10)
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", hang)
    started = time.perf_counter()
    assert not data._reachable("host.invalid", wait=0.1)
    assert time.perf_counter() - started < 5
    released.set()


def test_a_network_that_answers(empty_home, monkeypatch):
    class Connection:
        def close(self):
            closed.append(True)

    closed = []
    monkeypatch.setattr(socket, "create_connection", lambda *a, **k: Connection())
    assert data._reachable("host.invalid")
    assert closed == [True]
    assert list(empty_home.iterdir()) == []


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="unknown data set 'cifar': choose one of auto, mnist"):
        data.load("cifar")


def test_torchvision_loads_as_far_as_it_is_needed():
    package = torchvision()
    assert package is torchvision()
    assert all((package.datasets.MNIST, package.transforms.Compose, package.models.resnet18))
