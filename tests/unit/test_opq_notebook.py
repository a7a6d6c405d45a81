"""The figures of notebook 07 show what they are given, and its panel what was solved."""

import copy

import numpy as np
import pytest
from unit.states import sweep_states

import admm_lib as al
from admm_lib import codec, opq
from admm_lib.figures import opq as figures
from admm_lib.figures.style import png
from admm_lib.panels import base
from admm_lib.panels import opq as panels
from admm_lib.records import Interval


def test_fits_are_a_histogram_and_a_density_each():
    weights = {"fc1": np.linspace(-1, 1, 100), "fc2": np.array([-0.5, 0.1, 0.4])}
    figure = figures.fits(weights, {"fc1": 0.5, "fc2": 0.2}, {"fc1": 0.25, "fc2": 0.1})
    assert png(figure).startswith(b"\x89PNG")
    for axes, tau, title in zip(figure.axes, (0.5, 0.2), ("fc1: 0.25 apart", "fc2: 0.10 apart"), strict=True):
        assert axes.get_title(loc="left") == title
        assert axes.get_yscale() == "log"
        x, y = axes.lines[0].get_data()
        assert y == pytest.approx(np.exp(-np.abs(x) / tau) / (2 * tau))
    assert figure.axes[0].patches[0].get_data().values.sum() * 2 / figures.BINS == pytest.approx(1)


def test_errors_are_lines_as_expected_and_marks_as_found():
    pair = [(1.0, 0.1), (2.0, 0.4)], [(1.0, 0.2), (2.0, 0.3)]
    left, right = figures.errors({"one": {"fc1": pair}, "other": {"fc2": pair}}, ("beta", "step")).axes
    for axes, label in ((left, "beta"), (right, "step")):
        line, marks = axes.lines
        assert [list(point) for point in pair[0]] == line.get_xydata().tolist()
        assert [list(point) for point in pair[1]] == marks.get_xydata().tolist()
        assert (line.get_linestyle() != "None", marks.get_linestyle()) == (True, "None")
        assert axes.get_xlabel() == label


def test_codebooks_and_progress_are_the_points_given():
    ways = {"layer": [(2, 0.1), (3, 0.01)], "unified": [(2.1, 0.1)], "channel": [(3, 0.05), (4, 0.02)]}
    (axes,) = figures.codebooks({"conv2": ways}).axes
    drawn = {line.get_label(): [tuple(point) for point in line.get_xydata()] for line in axes.lines}
    assert drawn == ways
    courses = {"one": [(1, 90.0), (2, 95.0)], "other": [(1, 80.0)]}
    (axes,) = figures.progress({"net": courses}, 70).axes
    assert {line.get_label(): [tuple(p) for p in line.get_xydata()] for line in axes.lines} == courses


def test_arms_stand_in_their_order_with_their_intervals():
    found = {"one": Interval(97.5, 97.0, 98.0, 5), "other": Interval(96.0, 95.5, 96.5, 5)}
    (axes,) = figures.arms({"net": found}, {"net": "one"}).axes
    for place, (drawn, each) in enumerate(zip(axes.containers, found.values(), strict=True)):
        assert drawn[0].get_xydata().tolist() == [[each.mean, place]]
        assert drawn[2][0].get_segments()[0].tolist() == [[each.low, place], [each.high, place]]
    assert [text.get_text() for text in axes.get_yticklabels()] == list(found)
    assert axes.containers[0][0].get_color() != axes.containers[1][0].get_color()
    low, high = axes.get_ylim()
    assert low > high  # the first is on top


@pytest.fixture(scope="module")
def network():
    return al.models.pretrained("lenet300", "digits")


def test_every_state_shows_what_was_solved_and_what_it_makes(network, monkeypatch):
    shown = []
    monkeypatch.setattr(base, "png", lambda figure, **_: shown.append(figure) or b"")  # a sweep is long
    split = al.data.load("digits").val.subset(60)
    panel = panels.solution_panel(network, split)
    figure_of = {tuple(panel.state.values()): shown[0]}
    for state in sweep_states(panel, random=12):
        ratio, bits, error = key = tuple(state.values())
        panel.set(**state)
        assert panel.error == ""
        *layers, shares = figure_of.setdefault(key, shown[-1]).axes
        solved = opq.solve(network, ratio, bits, error)
        model = al.bake(opq.hold(copy.deepcopy(network), solved))
        for axes, (name, each) in zip(layers, solved.items(), strict=True):
            low, high = (line.get_xdata()[0] for line in axes.lines[:2])
            assert (-low, high) == (each.beta, each.beta)
            levels = np.abs(axes.lines[2].get_xdata()) / each.step
            assert levels == pytest.approx(levels.round())
            assert axes.get_title(loc="left") == name.removesuffix(".weight")
        weights = [p.detach() for name, p in model.named_parameters() if name in solved]
        found = [float((weight != 0).float().mean()) for weight in weights]
        assert [bar.get_width() for bar in shares.patches[3:]] == pytest.approx(found)
        assert f"a file of {len(codec.encode(model)):,} bytes" in panel.line
        assert f"{al.evaluate(model, split).accuracy:.1f}% right before fine-tuning" in panel.line


def test_the_code_of_the_panel_runs(network, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(al.data, "load", lambda name, load=al.data.load: load("digits"))
    panel = panels.solution_panel(network, al.data.load("auto").val.subset(60))
    panel.set(ratio=20, bits=3, error="relative")
    assert 'opq.solve(model, ratio=20, bits=3, error="relative")' in panel.code
    exec(panel.code.replace("epochs=5", "epochs=1"), {})
    assert "fc1.weight: below" in capsys.readouterr().out
    model = al.load(tmp_path / "opq.admm")
    assert al.storage.ladder(model).nonzero_weights < 266_200 / 15
