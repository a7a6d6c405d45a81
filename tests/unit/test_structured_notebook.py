"""The figures of notebook 06 show what they are given."""

import numpy as np
import pytest

from admm_lib.figures import structured as figures
from admm_lib.figures.style import png
from admm_lib.records import Interval

POINTS = {"element": [(12.0, Interval(-2.5, -2.75, -2.25, 3)), (3.0, Interval(-0.1, -0.5, 0.5, 3))],
          "channel": [(2.0, Interval(-0.6, -1.0, -0.1, 3))]}  # fmt: skip
NAMES = {"element": "single weights", "channel": "channels"}


def test_views_show_what_stays():
    masks = {by: np.eye(4, 6, k, dtype=bool) for k, by in enumerate(("element", "column", "n:m"))}
    figure = figures.views(masks)
    panes = [axes for axes in figure.axes if axes.images]
    assert len(panes) == 3
    for axes, (by, mask) in zip(panes, masks.items(), strict=True):
        assert np.array_equal(axes.images[0].get_array(), mask)
        assert axes.get_title(loc="left") == f"{by}: {mask.sum()} of 24"
    assert png(figure).startswith(b"\x89PNG")


def test_losses_are_curves_over_the_ratio_with_their_intervals():
    (axes,) = figures.loss_by_ratio(POINTS, (0.1, 0.5), NAMES).axes
    element, channel = axes.containers
    assert element[0].get_xydata().tolist() == [[3, -0.1], [12, -2.5]]
    assert channel[0].get_xydata().tolist() == [[2, -0.6]]
    (bars,) = element[2]
    assert bars.get_segments()[0].tolist() == [[3, -0.5], [3, 0.5]]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(NAMES.values())
    assert [text.get_text().strip() for text in axes.texts] == ["−0.1", "−0.5"]
    assert {line.get_ydata()[0] for line in axes.lines} >= {0, -0.1, -0.5}
    assert axes.get_xscale() == "log"


def test_the_break_even_is_lines_over_a_band():
    needed = {"3 bits": [(1, 4.0), (8, 1.375)], "9 bits": [(1, 10.0), (8, 2.125)]}
    (axes,) = figures.break_even(needed, Interval(2.4, 1.9, 3.0, 3), "found").axes
    (band,) = axes.patches
    assert (band.get_y(), band.get_height()) == (1.9, pytest.approx(1.1))
    curves = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert curves["3 bits"] == [[1, 4], [8, 1.375]]
    assert curves["9 bits"] == [[1, 10], [8, 2.125]]
    assert [text.get_text() for text in axes.texts] == ["found"]


def test_times_are_over_those_of_the_dense_network():
    ways = {"CSR": [(100.0, 0.5), (10.0, 2.0)], "shrunk": [(10.0, 0.2)]}
    figure = figures.times({"batch 1": ways, "batch 256": {"CSR": [(10.0, 3.0)]}})
    left, right = figure.axes
    assert [axes.get_title(loc="left") for axes in (left, right)] == ["batch 1", "batch 256"]
    assert left.lines[1].get_xydata().tolist() == [[10, 2], [100, 0.5]]
    assert right.lines[1].get_xydata().tolist() == [[10, 3]]
    assert (left.get_xscale(), left.get_yscale()) == ("log", "log")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["CSR", "shrunk"]
