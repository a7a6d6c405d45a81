"""The figures of notebook 03 show the numbers that they are given."""

import numpy as np
import pytest

from admm_lib.admm import Residuals
from admm_lib.figures import progressive as figures

CURVES = {
    "direct": [([1.0, 0.5, 0.25], [90.0, 95.0, 98.0]), ([2.0, 1.0, 0.75], [92.0, 97.0, 99.0])],
    "progressive": [([4.0, 2.0, 1.0], [80.0, 85.0, 91.0])],
}


def test_a_schedule_is_drawn_epoch_by_epoch():
    kept, rho = [100] * 4 + [40] * 4, [1e-3, 1e-2, np.nan, np.nan] * 2
    above, below = figures.schedule(kept, 1000, rho, "a headline").axes
    for stairs in above.patches:
        assert stairs.get_data().values.tolist() == kept
        assert stairs.get_data().edges.tolist() == [n + 0.5 for n in range(9)]
    assert [(text.get_text(), text.xy[0]) for text in above.texts] == [("10x", 0.65), ("25x", 4.65)]
    (line,) = below.lines
    assert line.get_xdata().tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert np.array_equal(line.get_ydata(), rho, equal_nan=True)
    ends = [path.get_extents() for path in below.collections[0].get_paths()]
    assert [(box.x0, box.x1) for box in ends] == [(2.5, 3.5), (3.5, 4.5), (6.5, 7.5), (7.5, 8.5)]
    assert below.get_xlim() == (0.5, 8.5)


def test_the_mean_over_seeds_is_drawn_over_the_seeds():
    figure = figures.against_epochs({"71x": CURVES, "167x": CURVES}, dense=99.5)
    loss, other_loss, error, _ = figure.axes
    assert (loss.get_title(loc="left"), other_loss.get_title(loc="left")) == ("71x", "167x")
    means = {line.get_label(): line for line in loss.lines if not line.get_label().startswith("_")}
    assert list(means) == ["direct", "progressive"]
    assert means["direct"].get_ydata().tolist() == [1.5, 0.75, 0.5]
    assert means["direct"].get_xdata().tolist() == [1, 2, 3]
    assert len(loss.lines) == 4  # two seeds and two means: a single seed is its own mean
    shown = {line.get_label(): line for line in error.lines}
    assert np.allclose(shown["direct"].get_ydata(), [9.0, 4.0, 1.5])
    assert any(np.allclose(line.get_ydata(), 0.5) for line in error.lines)
    assert loss.get_yscale() == error.get_yscale() == "log"


def test_no_error_is_drawn_as_the_least():
    curves = {"direct": [([1.0, 0.5], [10.0, 100.0])]}
    _, error = figures.against_epochs({"71x": curves}, dense=100).axes
    assert error.lines[0].get_ydata().tolist() == [90, figures.LEAST]


def test_bars_are_the_shares_that_layers_keep():
    kept = {"by hand": {"conv1": 30.0, "fc1": 0.3}, "uniform": {"conv1": 0.6, "fc1": 0.6}}
    (axes,) = figures.who_keeps_what(kept).axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["by hand", "uniform"]
    widths = {bars.get_label(): [bar.get_width() for bar in bars] for bars in axes.containers}
    assert widths == {"conv1": [30.0, 0.6], "fc1": [0.3, 0.6]}
    assert {bars.get_label(): bars[0].get_hatch() for bars in axes.containers} == {"conv1": "", "fc1": "//"}


def test_a_share_too_small_for_a_bar_has_its_number():
    (axes,) = figures.who_keeps_what({"relative": {"conv1": 60.0, "fc1": 0.00025}}).axes
    many, few = axes.texts
    assert (few.get_text(), few.xy[0]) == ("0.00025%", figures.LEAST_SHARE)
    assert (many.get_text(), many.xy[0]) == ("60%", 60)


def test_a_difference_is_coloured_where_its_interval_leaves_zero_out():
    rows = {"sure": (0.2, 0.1, 0.3), "open": (0.1, -0.1, 0.3), "worse": (-0.2, -0.3, -0.1)}
    (axes,) = figures.differences(rows, "points").axes
    means = {line.get_ydata()[0]: line for line in axes.lines if line.get_marker() == "o"}
    assert [means[place].get_xdata()[0] for place in range(3)] == [0.2, 0.1, -0.2]
    assert means[0].get_color() == means[2].get_color() != means[1].get_color()


def test_large_differences_leave_room_for_small_ones():
    rows = {"small": (0.1, -0.1, 0.3), "large": (-12.0, -35.0, 12.0)}
    (axes,) = figures.differences(rows, "points", linear=0.5).axes
    assert axes.get_xscale() == "symlog"
    assert axes.get_xticks().tolist() == [-20, -10, -5, -2, -1, -0.5, 0, 0.5, 1, 2, 5, 10, 20]
    place = axes.transData.transform([(0.1, 0), (0.3, 0), (-35, 0), (12, 0)])[:, 0]
    assert (place[1] - place[0]) > 0.02 * (place[3] - place[2])


@pytest.mark.parametrize("ways", [["ramp"], ["ramp", "balancing"]])
def test_paces_show_rho_and_the_relative_residual(ways):
    history = {"fc1": [Residuals(2.0, 0.1, 4.0, 1e-3), Residuals(1.0, 0.1, 4.0, 2e-3)]}
    figure = figures.paces(dict.fromkeys(ways, history))
    rho, residual = figure.axes[0], figure.axes[len(ways)]
    assert [axes.get_title(loc="left") for axes in figure.axes[: len(ways)]] == ways
    assert list(rho.lines[0].get_ydata()) == [1e-3, 2e-3]
    assert list(residual.lines[0].get_ydata()) == [0.5, 0.25]


def test_the_tree_joins_children_to_their_parents_and_marks_the_way_to_the_result():
    search = [
        {"val_accuracy": [99.0], "best": 0},
        {"val_accuracy": [98.8], "best": 0},
        {"val_accuracy": [98.4, 98.6], "best": 1},
        {"val_accuracy": [98.5, 98.2], "best": 0},
    ]
    (axes,) = figures.tree(search, [10, 20, 30, 40], width=2).axes
    edges = [line.get_xydata().tolist() for line in axes.lines if len(line.get_xdata()) == 2]
    assert [[10, 99.0], [30, 98.4]] in edges
    assert [[20, 98.8], [30, 98.6]] in edges
    assert [[10, 99.0], [40, 98.5]] in edges
    assert [[30, 98.6], [40, 98.2]] in edges  # the best child of the third step has replaced its parent
    assert axes.lines[-1].get_xydata().tolist() == [[10, 99.0], [40, 98.5]]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["10x", "20x", "30x", "40x"]
