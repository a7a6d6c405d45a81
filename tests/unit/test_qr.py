"""A file in a QR code."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from admm_lib import qr


@given(content=st.binary(min_size=1, max_size=400), pixels=st.integers(2, 5))
def test_the_bytes_come_back(content, pixels):
    assert qr.read(qr.picture(content, pixels)) == content


@pytest.mark.parametrize("size", [1, 1024, 2331, 2953])
def test_all_sizes_come_back_also_as_text_and_in_colour(size):
    content = bytes(np.random.RandomState(size).randint(0, 256, size, dtype=np.uint8))
    grey = qr.picture(content)
    assert qr.read(grey) == content
    assert qr.read(np.repeat(grey[:, :, None], 3, axis=2)) == content
    assert qr.read(qr.picture(b"7" * size)) == b"7" * size  # not packed as a number


def test_some_of_the_picture_may_be_lost():
    content = bytes(range(256)) * 4
    damaged = qr.picture(content)
    side = len(damaged)
    damaged[side // 2 :, side // 2 :][:60, :60] = 255
    assert qr.read(damaged) == content


def test_the_largest_is_version_40():
    assert qr.describe(bytes(qr.CAPACITY)) == "40-L"
    assert len(qr.picture(bytes(qr.CAPACITY), 1)) == 177 + 2 * qr.QUIET


@pytest.mark.parametrize("size", [0, 2954])
def test_what_does_not_fit_is_refused(size):
    with pytest.raises(ValueError, match=f"1 to 2,953 bytes, but these are {size:,}"):
        qr.picture(bytes(size))
    with pytest.raises(ValueError, match=f"1 to 2,953 bytes, but these are {size:,}"):
        qr.describe(bytes(size))


def test_a_picture_without_a_code_is_refused():
    with pytest.raises(ValueError, match="no QR codes were found: give a sharp picture"):
        qr.read(np.full((80, 80), 255, dtype=np.uint8))
    two = np.hstack([qr.picture(b"one"), qr.picture(b"other")])
    with pytest.raises(ValueError, match="2 QR codes were found"):
        qr.read(two)
    for pixels in (0, 1.5, "4"):
        with pytest.raises(ValueError, match="a whole number of pixels wide, 1 or more"):
            qr.picture(b"x", pixels)


def test_floats_and_an_alpha_channel_are_read_too():
    grey = qr.picture(b"a network")
    colours = np.repeat(grey[:, :, None], 4, axis=2)
    for picture in (grey / 255, colours, colours / 255, (grey / 255).astype(np.float32)):
        assert qr.read(picture) == b"a network"


@pytest.mark.parametrize(
    "picture",
    [2.0 * qr.picture(b"x"), qr.picture(b"x").astype(int), np.zeros((0, 0), np.uint8), np.zeros(9, np.uint8),
     np.zeros((90, 90, 2), np.uint8), "a.png"],
    ids=["large floats", "whole numbers", "empty", "flat", "two colours", "a path"],
)  # fmt: skip
def test_other_pictures_are_refused_with_what_they_are(picture):
    with pytest.raises(ValueError, match=r"a picture is uint8, or floats from 0 to 1, .* but this is"):
        qr.read(picture)


@pytest.mark.parametrize("content", ["model.admm", Path("model.admm")])
def test_a_path_is_no_content(content):
    with pytest.raises(ValueError, match=r"give the bytes of a file, Path\(file\).read_bytes\(\), not"):
        qr.picture(content)
