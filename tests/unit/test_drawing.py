"""The square to draw a digit in."""

import numpy as np
import pytest
import torch

import admm_lib as al
from admm_lib.data import MEAN, STD
from admm_lib.panels import drawing

SEVEN = [[(40, 40), (180, 40), (90, 200)]]
ONE = [[(112, 30), (112, 200)]]
ZERO = [[(112 + 60 * np.sin(a), 112 - 85 * np.cos(a)) for a in np.linspace(0, 2 * np.pi, 40)]]


def ink(strokes):
    return (drawing.image_of(strokes) * STD + MEAN)[0, 0].double().numpy()


@pytest.mark.parametrize("strokes", [SEVEN, ONE, ZERO, [[(3, 3)]], [[(0, 0), (9, 0)], [(5, 5)]]])
def test_a_drawing_is_placed_as_digits_of_mnist_are(strokes):
    found = ink(strokes)
    assert found.shape == (28, 28)
    assert found.min() > -1e-6
    assert found.max() == pytest.approx(1)
    centre = [(found.sum(axis) @ np.arange(0.5, 28)) / found.sum() for axis in (0, 1)]
    assert centre == pytest.approx([14, 14], abs=0.1)
    rows, columns = np.nonzero(found > 0.5)
    assert max(np.ptp(rows), np.ptp(columns)) + 1 <= drawing.BOX + 1
    if len(strokes[0]) > 1:
        assert max(np.ptp(rows), np.ptp(columns)) + 1 >= drawing.BOX - 1


def test_place_and_size_of_a_drawing_do_not_matter():
    moved = [[(0.3 * x + 500, 0.3 * y - 70) for x, y in stroke] for stroke in SEVEN]
    assert ink(moved) == pytest.approx(ink(SEVEN), abs=1e-5)


def test_a_stroke_is_as_dark_as_it_is_near():
    found = ink(ONE)
    assert np.ptp(np.nonzero(found[14])[0]) + 1 in (2, 3, 4)
    assert found[14].sum() == pytest.approx(2 * drawing.PEN, abs=0.2)


@pytest.mark.parametrize(("strokes", "digit"), [(SEVEN, 7), (ONE, 1), (ZERO, 0)])
def test_a_trained_network_reads_what_is_drawn(strokes, digit):
    network = al.models.pretrained("lenet5", "mnist")
    assert drawing.probabilities(network, strokes).argmax() == digit
    assert drawing.probabilities(network, strokes).sum() == pytest.approx(1)


def test_the_pad_follows_the_mouse_and_clears():
    pad = drawing.Pad(al.models.pretrained("lenet5", "mnist"))
    down, move, up = (getattr(pad.canvas, f"_mouse_{each}_callbacks") for each in ("down", "move", "up"))
    move(5, 5)  # without a button pressed
    up(5, 5)
    assert (pad.strokes, pad.line) == ([], "Draw a digit here.")
    (start, *rest) = ZERO[0]
    down(*start)
    for point in rest:
        move(*point)
    up(0, 0)
    assert pad.strokes == [[tuple(point) for point in ZERO[0]]]
    assert pad.line.startswith("This is a 0, says the network (")
    move(1, 1)
    assert len(pad.strokes[0]) == len(ZERO[0])
    pad.clear()
    assert (pad.strokes, pad.line) == ([], "Draw a digit here.")


def test_the_pad_follows_a_finger():
    pad = drawing.Pad(al.models.pretrained("lenet5", "mnist"))
    pad.canvas._touch_start_callbacks([ONE[0][0]])
    pad.canvas._touch_move_callbacks([ONE[0][1]])
    pad.canvas._touch_end_callbacks([])
    assert pad.strokes == ONE
    assert pad.line.startswith("This is a 1, says the network (")


def test_nothing_drawn_is_refused():
    with pytest.raises(ValueError, match="nothing is drawn yet"):
        drawing.image_of([])
    with pytest.raises(ValueError, match="nothing is drawn yet"):
        drawing.image_of([[]])
    assert isinstance(drawing.image_of(ONE), torch.Tensor)
