"""The figures of notebook 06 show what they are given."""

import numpy as np
import pytest
from unit.states import sweep_states

import admm_lib as al
from admm_lib import cost, groups, times
from admm_lib.figures import structured as figures
from admm_lib.figures.style import png
from admm_lib.panels import base, structured
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
    panes = {"one": POINTS, "other": {"channel": POINTS["channel"]}}
    left, right = figures.loss_by_ratio(panes, (0.1, 0.5), NAMES, -3).axes
    element, channel = left.containers
    assert element[0].get_xydata().tolist() == [[3, -0.1], [12, -2.5]]
    assert channel[0].get_xydata().tolist() == [[2, -0.6]]
    assert right.containers[0][0].get_xydata().tolist() == [[2, -0.6]]
    (bars,) = element[2]
    assert bars.get_segments()[0].tolist() == [[3, -0.5], [3, 0.5]]
    assert [text.get_text() for text in left.get_legend().get_texts()] == list(NAMES.values())
    for axes, title in ((left, "one"), (right, "other")):
        assert [text.get_text().strip() for text in axes.texts] == ["−0.1", "−0.5"]
        assert {line.get_ydata()[0] for line in axes.lines} >= {0, -0.1, -0.5}
        assert (axes.get_xscale(), axes.get_title(loc="left"), axes.get_ylim()) == ("log", title, (-3, 1))


def test_the_break_even_is_lines_over_a_band():
    needed = {"3 bits": [(1, 4.0), (8, 1.375)], "9 bits": [(1, 10.0), (8, 2.125)]}
    found = {"one": Interval(2.4, 1.9, 3.0, 3), "other": Interval(1.6, 1.5, 1.7, 3)}
    (axes,) = figures.break_even(needed, found).axes
    band, below = axes.patches
    assert (band.get_y(), band.get_height()) == (1.9, pytest.approx(1.1))
    assert (below.get_y(), below.get_height()) == (1.5, pytest.approx(0.2))
    assert (band.get_hatch(), below.get_hatch()) == (None, "//")  # told apart without colour
    means = {line.get_ydata()[0]: line.get_linestyle() for line in axes.lines[:2]}
    assert means == {2.4: "-", 1.6: "--"}
    curves = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert curves["3 bits"] == [[1, 4], [8, 1.375]]
    assert curves["9 bits"] == [[1, 10], [8, 2.125]]
    assert [text.get_text() for text in axes.texts] == ["one", "other"]


def test_times_are_over_those_of_the_dense_network():
    ways = {"CSR": [(100.0, 0.5), (10.0, 2.0)], "shrunk": [(10.0, 0.2)]}
    figure = figures.times({"batch 1": ways, "batch 256": {"CSR": [(10.0, 3.0)]}})
    left, right = figure.axes
    assert [axes.get_title(loc="left") for axes in (left, right)] == ["batch 1", "batch 256"]
    assert left.lines[1].get_xydata().tolist() == [[10, 2], [100, 0.5]]
    assert right.lines[1].get_xydata().tolist() == [[10, 3]]
    assert (left.get_xscale(), left.get_yscale()) == ("log", "log")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["CSR", "shrunk"]


def test_the_front_is_what_nothing_else_beats():
    points = [(10, -1.0), (5, -1.5), (8, -2.0), (10, -1.2), (20, -0.9), (30, -0.9)]
    assert figures.front(points) == [(5, -1.5), (10, -1.0), (20, -0.9)]
    figure = figures.pareto({"net": {"element": points, "filter": [(7, -1.0)]}}, NAMES | {"filter": "f"}, -3)
    (axes,) = figure.axes
    drawn = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert drawn["single weights"] == [[5, -1.5], [10, -1], [20, -0.9]]
    assert drawn["f"] == [[7, -1]]
    assert [list(point) for point in points] in [line.get_xydata().tolist() for line in axes.lines]
    assert len(figures.pareto({"net": {"element": points}}, NAMES, 0).axes[0].lines) == 1  # none to be seen
    few = figures.pareto({"net": {"element": points}}, NAMES, -1.4).axes[0].lines
    assert all(line.get_ydata()[0] >= -1.4 for line in few)
    assert (axes.get_title(loc="left"), axes.get_ylim()[0]) == ("net", -3)


def test_changes_are_a_pane_each_and_a_line_for_each_network():
    lines = {"dense": [(0, Interval(99.0, 98.0, 99.5, 5)), (0.1, Interval(60.0, 50.0, 70.0, 5))],
             "element": [(0, Interval(98.0, 97.0, 99.0, 5))]}  # fmt: skip
    figure = figures.changes({"FGSM": lines, "noise": lines}, {"dense": "d", "element": "e"})
    left, right = figure.axes
    assert [axes.get_title(loc="left") for axes in (left, right)] == ["FGSM", "noise"]
    for axes in (left, right):
        dense, element = axes.containers
        assert dense[0].get_xydata().tolist() == [[0, 99], [0.1, 60]]
        assert dense[2][0].get_segments()[1].tolist() == [[0.1, 50], [0.1, 70]]
        assert element[0].get_xydata().tolist() == [[0, 98]]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["d", "e"]


def test_one_view_is_its_mask_and_bars():
    mask = np.eye(4, 6, dtype=bool)
    left, right = figures.one_view(mask, {"weights": 0.25, "time, CSR": 3.0}, "element").axes
    assert np.array_equal(left.images[0].get_array(), mask)
    assert left.get_title(loc="left") == "element: 4 of 24 weights of conv2"
    assert [bar.get_width() for bar in right.patches] == [0.25, 3]
    assert [text.get_text() for text in right.texts] == ["0.25", "3"]
    assert [text.get_text() for text in right.get_yticklabels()] == ["weights", "time, CSR"]


@pytest.fixture(scope="module")
def network():
    return al.models.pretrained("lenet5", "digits")


def make(network):
    return structured.views_panel(network, al.data.load("digits").val.subset(60))


def test_every_state_shows_the_pruned_network_and_the_recorded_time(network, monkeypatch):
    shown = []
    monkeypatch.setattr(base, "png", lambda figure, **_: shown.append(figure) or b"")  # a sweep is long
    panel, inputs = make(network), al.data.load("digits").val.inputs[:1]
    figure_of, models = {tuple(panel.state.values()): shown[0]}, {}
    for state in sweep_states(panel, random=30):
        view, ratio, bits, batch = key = tuple(state.values())
        panel.set(**state)
        assert panel.error == ""
        left, right = figure_of.setdefault(key, shown[-1]).axes
        if (view, ratio) not in models:
            model = times.pruned("lenet5", view, ratio, network)
            models[view, ratio] = model, al.shrink(model)
        model, small = models[view, ratio]
        assert np.array_equal(left.images[0].get_array(), (model.conv2.weight != 0).flatten(1).numpy())
        weights = sum(layer.nonzeros for layer in al.storage.count(small))
        if not weights:
            assert panel.line.startswith(f"{view}: no path from an input to an output is left")
            continue
        group = {"block": (4, 4), "n:m": ratio}.get(view)
        where = sum(
            cost.positions(p.detach(), view, group) for p in model.parameters() if p.dim() > 1
        )
        work = sum(layer.nonzero_macs for layer in cost.work(small, inputs))
        recorded = times.nearest(times.read("lenet5"), view, ratio, batch, 1)
        way = {"element": "CSR", "block": "BSR", "filter": "shrunk"}.get(view, "dense")
        spent = recorded[way]["over_dense"] if recorded else 1.0
        size = (bits * weights + where) / 8
        widths = [bar.get_width() for bar in right.patches]
        assert np.allclose(widths, [weights / 430_500, size / (4 * 430_500), work / 2_293_000, spent])
        assert right.get_yticklabels()[3].get_text() == f"time, {way}"
        assert panel.line.startswith(f"{view}: {430_500 / weights:.1f}x fewer weights; {size:,.0f} bytes, ")
        assert f" {2_293_000 / work:.1f}x fewer multiply-accumulates; {spent:.2f} of the dense" in panel.line
    assert {view for view, _ in models} == {*groups.VIEWS, *groups.SIZED}


@pytest.mark.parametrize("view", ["element", "filter", "block", "n:m"])
def test_the_code_to_copy_says_what_the_panel_shows(network, capsys, view):
    panel = make(network)
    panel.set(view=view, ratio=16, bits=3, batch=1)
    exec(panel.code.replace('"auto"', '"digits"'), {})
    size, work, recorded, _ = capsys.readouterr().out.splitlines()
    shown = panel.line.split("; ")
    assert f"{int(size.split()[0]):,} bytes, of which" in shown[1]
    assert shown[2] == f"{2_293_000 / int(work.split()[0]):.1f}x fewer multiply-accumulates"
    assert (recorded == "{}") == (view == "n:m")


def test_the_panel_does_not_follow_the_network():
    network = al.models.pretrained("lenet5", "digits")
    panel = make(network)
    network.conv2.weight.data.zero_()
    panel.set(view="column")
    assert "no path" not in panel.line
