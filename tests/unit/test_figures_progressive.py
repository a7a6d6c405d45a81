"""The figures of notebook 03 show the numbers that they are given."""

import numpy as np
import pytest

from admm_lib.admm import Residuals
from admm_lib.figures import progressive as figures

CURVES = {
    "direct": [([1.0, 0.5, 0.25], [90.0, 95.0, 98.0]), ([2.0, 1.0, 0.75], [92.0, 97.0, 99.0])],
    "progressive": [([4.0, 2.0, 1.0], [80.0, 85.0, 91.0])],
}


def test_the_mean_over_seeds_is_drawn_over_the_seeds():
    figure = figures.against_epochs({"71x": CURVES, "167x": CURVES}, dense=99.5, floor=90)
    loss, other_loss, accuracy, _ = figure.axes
    assert (loss.get_title(loc="left"), other_loss.get_title(loc="left")) == ("71x", "167x")
    means = {line.get_label(): line for line in loss.lines if not line.get_label().startswith("_")}
    assert list(means) == ["direct", "progressive"]
    assert means["direct"].get_ydata().tolist() == [1.5, 0.75, 0.5]
    assert means["direct"].get_xdata().tolist() == [1, 2, 3]
    assert len(loss.lines) == 4  # two seeds and two means: a single seed is its own mean
    assert any(np.allclose(line.get_ydata(), 99.5) for line in accuracy.lines)
    assert accuracy.get_ylim() == (90, 100)


def test_bars_are_the_shares_that_layers_keep():
    kept = {"by hand": {"conv1": 30.0, "fc1": 0.3}, "uniform": {"conv1": 0.6, "fc1": 0.6}}
    (axes,) = figures.who_keeps_what(kept).axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["by hand", "uniform"]
    widths = {bars.get_label(): [bar.get_width() for bar in bars] for bars in axes.containers}
    assert widths == {"conv1": [30.0, 0.6], "fc1": [0.3, 0.6]}


def test_a_difference_is_coloured_where_its_interval_leaves_zero_out():
    rows = {"sure": (0.2, 0.1, 0.3), "open": (0.1, -0.1, 0.3), "worse": (-0.2, -0.3, -0.1)}
    (axes,) = figures.differences(rows, "points").axes
    means = {line.get_ydata()[0]: line for line in axes.lines if line.get_marker() == "o"}
    assert [means[place].get_xdata()[0] for place in range(3)] == [0.2, 0.1, -0.2]
    assert means[0].get_color() == means[2].get_color() != means[1].get_color()


@pytest.mark.parametrize("ways", [["ramp"], ["ramp", "balancing"]])
def test_paces_show_rho_and_the_relative_residual(ways):
    history = {"fc1": [Residuals(2.0, 0.1, 4.0, 1e-3), Residuals(1.0, 0.1, 4.0, 2e-3)]}
    figure = figures.paces(dict.fromkeys(ways, history))
    rho, residual = figure.axes[0], figure.axes[len(ways)]
    assert [axes.get_title(loc="left") for axes in figure.axes[: len(ways)]] == ways
    assert list(rho.lines[0].get_ydata()) == [1e-3, 2e-3]
    assert list(residual.lines[0].get_ydata()) == [0.5, 0.25]
