"""Data sets: splits, batches and shifts."""

import hashlib

import numpy as np
import pytest
import torch

from admm_lib import data
from admm_lib.data import DataError, Split

BACKGROUND = -data.MEAN / data.STD


@pytest.fixture(scope="module")
def mnist():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "_reachable", lambda host, **_: False)
        try:
            return data.load("mnist")
        except DataError as missing:
            pytest.skip(f"needs MNIST: {missing}")


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def fingerprint(tensor):
    return hashlib.sha256(tensor.numpy().tobytes()).hexdigest()[:16]


def ramp(count, channels=1, height=28, width=28):
    """Images in which every pixel has a value of its own."""
    numbers = torch.arange(count * channels * height * width, dtype=torch.float32) + 1
    return numbers.reshape(count, channels, height, width)


# The data sets


def test_digits_are_split_once_and_for_all(digits):
    assert [len(each) for each in (digits.train, digits.val, digits.test)] == [1197, 300, 300]
    labels = torch.cat([digits.train.targets, digits.val.targets, digits.test.targets])
    assert fingerprint(labels) == "cef12ef94d84a613"
    assert labels.dtype == torch.int64
    images = torch.cat([digits.train.inputs, digits.val.inputs, digits.test.inputs])
    assert images.shape == (1797, 1, 28, 28)
    assert images.dtype == torch.float32
    assert digits.name == "digits"
    assert digits.note == "scikit-learn digits, resized to 28x28"
    assert repr(digits) == f"{digits.note}: 1,197 train / 300 val / 300 test"


def test_digits_are_the_originals_in_that_order(digits):
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    order = np.random.RandomState(0).permutation(1797)
    assert digits.test.targets.tolist() == labels[order][1497:].tolist()
    ink = (digits.test.inputs * data.STD + data.MEAN).sum((1, 2, 3)).numpy()
    assert np.corrcoef(ink, pixels[order][1497:].sum(1))[0, 1] > 0.999


def test_digits_look_like_mnist(digits):
    grey = digits.train.inputs * data.STD + data.MEAN
    assert grey.min() >= -1e-6
    assert 0.99 < grey.max() <= 1 + 1e-6
    margin = digits.train.inputs.clone()
    margin[:, :, 4:24, 4:24] = BACKGROUND
    torch.testing.assert_close(margin, torch.full_like(margin, BACKGROUND))
    assert bool((digits.train.inputs[:, :, 4:24, 4:24].amax((1, 2, 3)) > 1).all())


def test_mnist_is_split_once_and_for_all(mnist):
    assert [len(each) for each in (mnist.train, mnist.val, mnist.test)] == [55_000, 5_000, 10_000]
    assert fingerprint(torch.cat([mnist.train.targets, mnist.val.targets])) == "d9f5245e7b387c39"
    assert mnist.train.inputs.shape == (55_000, 1, 28, 28)
    assert mnist.name == mnist.note.lower() == "mnist"
    assert mnist.checksums == data.MNIST_SHA256
    assert mnist.test.targets[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]  # as published
    both = torch.cat([mnist.train.inputs, mnist.val.inputs])
    assert both.mean().item() == pytest.approx(0, abs=1e-3)
    assert both.std().item() == pytest.approx(1, abs=1e-3)


def test_the_splits_are_disjoint_and_complete(mnist):
    """Every one of the 60,000 images is in training or validation, and once only."""
    images = torch.cat([mnist.train.inputs, mnist.val.inputs])
    pixels = ((images * data.STD + data.MEAN) * 255).round().byte().numpy()
    assert len({image.tobytes() for image in pixels}) == 60_000  # none is in MNIST twice


# Batches


def split(count=10):
    return Split(ramp(count, height=2, width=2), torch.arange(count))


def test_batches_in_order_with_a_ragged_end():
    found = list(split().batches(4))
    assert [y.tolist() for _, y in found] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert torch.equal(torch.cat([x for x, _ in found]), split().inputs)
    assert len(list(split().batches(100))) == 1


def test_shuffled_batches_are_a_permutation_that_the_seed_fixes():
    def targets(seed, epochs=1):
        generator = torch.Generator().manual_seed(seed)
        for _ in range(epochs):
            found = list(split(100).batches(7, generator))
        for x, y in found:  # each input is still with its target
            assert torch.equal(x[:, 0, 0, 0], 4.0 * y + 1)
        return torch.cat([y for _, y in found]).tolist()

    assert sorted(targets(1)) == list(range(100))
    assert targets(1) == targets(1) != list(range(100))
    assert targets(1) != targets(2)
    assert targets(1) != targets(1, epochs=2)  # each epoch in another order


def test_augmentation_is_applied_per_batch_with_the_generator():
    generator = torch.Generator().manual_seed(0)
    seen = []

    def negate(images, given):
        seen.append((len(images), given is generator))
        return -images

    found = list(split().batches(4, generator, negate))
    assert seen == [(4, True), (4, True), (2, True)]
    assert bool(torch.cat([x for x, _ in found]).lt(0).all())


@pytest.mark.parametrize("size", [0, -3])
def test_a_batch_holds_at_least_one(size):
    with pytest.raises(ValueError, match=f"a batch holds at least 1 example, not {size}"):
        next(split().batches(size))


def test_augmentation_needs_a_generator():
    with pytest.raises(ValueError, match="pass generator="):
        next(split().batches(4, augment=data.Shifts(1)))


def test_subset():
    part = split().subset(3)
    assert len(part) == 3
    assert part.targets.tolist() == [0, 1, 2]
    assert len(split().subset(99)) == 10


# Shifts


@pytest.mark.parametrize("pixels", [0, 1, 2])
@pytest.mark.parametrize("channels", [1, 3])
def test_each_image_moves_by_its_own_shift(pixels, channels):
    images = ramp(400, channels, height=6, width=5)
    before = images.clone()
    moved = data.Shifts(pixels)(images, torch.Generator().manual_seed(0))
    assert torch.equal(images, before)
    assert moved.shape == images.shape
    counts = {}
    for image, result in zip(images, moved, strict=True):
        found = [
            (dy, dx)
            for dy in range(-pixels, pixels + 1)
            for dx in range(-pixels, pixels + 1)
            if torch.equal(result, by_hand(image, dy, dx))
        ]
        assert len(found) == 1
        counts[found[0]] = counts.get(found[0], 0) + 1
    cells = (2 * pixels + 1) ** 2
    assert len(counts) == cells  # all of them, standing still and the corners included
    expected = 400 / cells  # evenly: chi-squared for 24 degrees of freedom is below 52 in 99.9%
    assert sum((n - expected) ** 2 / expected for n in counts.values()) < 52


def by_hand(image, dy, dx):
    """The image moved up by dy and left by dx, background moving in."""
    moved = image.roll((-dy, -dx), (1, 2))
    moved[:, range(-dy, 0) if dy > 0 else range(-dy)] = BACKGROUND
    moved[:, :, range(-dx, 0) if dx > 0 else range(-dx)] = BACKGROUND
    return moved


def test_shifts_follow_the_generator():
    images = ramp(50)
    first, again, other = (
        data.Shifts(2)(images, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("pixels", [-1, 1.5, "1", True])
def test_a_shift_by_no_number_of_pixels_is_refused(pixels):
    with pytest.raises(ValueError, match=f"pixels must be a whole number, 0 or more, but is {pixels!r}"):
        data.Shifts(pixels)


def test_rows_beside_shifted_images_are_those_of_the_move_drawn():
    images, moves = ramp(30), data.Shifts(1)
    every = torch.stack([moves.moved(images, torch.full((30,), n)) for n in range(moves.count)], 1)
    both = data.Split(images, torch.arange(30))
    chance, plain = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    for (inputs, targets, rows), (same, labels) in zip(
        both.batches(7, chance, moves, every), both.batches(7, plain, moves), strict=True
    ):
        assert torch.equal(inputs, rows)
        assert torch.equal(inputs, same)  # rows or not, the same images by the same moves
        assert torch.equal(targets, labels)
    with pytest.raises(ValueError, match="rows beside the targets go with Shifts alone"):
        next(both.batches(7, chance, lambda inputs, generator: inputs, every))


# Mirror images


def test_with_flip_half_of_the_images_are_mirrored_and_then_moved():
    images = ramp(400, channels=2, height=5, width=4)
    augment = data.Shifts(1, flip=True, fill=0.0)
    assert augment.count == 18
    moves = augment.draw(400, torch.Generator().manual_seed(3))
    assert set(moves.tolist()) == set(range(18))
    found = augment.moved(images, moves)
    padded = torch.nn.functional.pad(images, [1] * 4)
    for image, number, seen in zip(padded, moves.tolist(), found, strict=True):
        dy, dx = divmod(number % 9, 3)
        whole = image.flip(2) if number >= 9 else image
        assert torch.equal(seen, whole[:, dy : dy + 5, dx : dx + 4])


def test_flip_alone_moves_nothing():
    images = ramp(50, height=3, width=3)
    found = data.Shifts(0, flip=True)(images, torch.Generator().manual_seed(0))
    same, mirrored = ((found == each).flatten(1).all(1) for each in (images, images.flip(3)))
    assert bool((same ^ mirrored).all())
    assert 10 < int(mirrored.sum()) < 40


def test_without_flip_the_moves_are_those_they_always_were():
    moves = data.Shifts(2).draw(6, torch.Generator().manual_seed(7))
    assert moves.tolist() == data.Shifts(2, fill=0.0).draw(6, torch.Generator().manual_seed(7)).tolist()
    assert fingerprint(moves) == "849a693a16a8c488"
