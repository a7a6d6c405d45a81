"""The panels of notebook 01: every control swept, and what they show checked by its numbers."""

import contextlib
import io

import pytest
import torch
from matplotlib.figure import Figure
from unit.states import sweep_states

from admm_lib import toy
from admm_lib.figures import theory as figures
from admm_lib.panels import base, theory


@pytest.fixture
def drawn(monkeypatch):
    """The figures that panels draw, not turned into pixels: a sweep is about numbers, and long."""
    figures: list[Figure] = []
    monkeypatch.setattr(base, "png", lambda figure, **_: figures.append(figure) or b"")
    return figures


def in_set(Z, constraint):
    if constraint is figures.ONE_NONZERO:
        return int(Z.count_nonzero()) <= 1
    return set(Z.tolist()) <= set(constraint.levels)


def check_path(path, constraint):
    """Z in the set exactly, U the sum of the disagreements, the residuals what their names say."""
    assert all(in_set(Z, constraint) for Z in path.Z)
    gaps = (path.W - path.Z)[1:]
    torch.testing.assert_close(path.U[1:], gaps.cumsum(0))
    assert not path.U[0].any()
    torch.testing.assert_close(path.primal, gaps.square().sum(-1).sqrt())
    moved = (path.Z[1:] - path.Z[:-1]).square().sum(-1).sqrt()
    torch.testing.assert_close(path.dual, path.rho[0] * moved)


def run(code):
    """What a panel's code prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "panel", "exec"), {})
    return printed.getvalue()


def test_number_line_sweep(drawn):
    panel, shown = theory.number_line(), {}
    for state in sweep_states(panel):
        if tuple(state.values()) in shown:
            continue
        panel.set(**state)
        assert panel.error == ""
        assert f"{'UWZ'[state['step'] % 3]}-step" in panel.line or state["step"] == 0
        shown[tuple(state.values())] = drawn[-1]
    assert len(shown) == len(drawn)
    for (rho, step), figure in shown.items():
        W, Z, U = figures.number_line_state(theory.number_line_path(rho), step)
        assert Z in (-1.0, 1.0)
        line, history = figure.axes
        label = {text.get_text(): text.get_position() for text in line.texts}
        assert label["Z"][0] == Z
        assert ("W+U" in label) == (abs(U) > 1e-3)
        data = {artist.get_label(): artist.get_ydata() for artist in history.lines}
        assert (data["W"][-1], data["Z"][-1], data["U"][-1]) == (W, Z, U)
    for rho in theory.LINE_RHOS:
        check_path(theory.number_line_path(rho), figures.TWO_LEVELS)


def test_step_moves_w_then_z_then_u_and_reset_goes_back():
    panel = theory.number_line(rho=2.0)
    first = panel.image
    said = []
    for _ in range(3):
        panel.buttons["Step"].click()
        said.append(panel.line.split(":")[0])
    assert said == ["Round 1, W-step", "Round 1, Z-step", "Round 1, U-step"]
    assert "U = 0.00 + -0.53 = -0.53" in panel.line
    panel.buttons["Whole round"].click()
    assert panel.state == {"rho": 2.0, "step": 6}
    panel.set(step=3 * theory.ROUNDS - 1)
    panel.buttons["Whole round"].click()
    assert panel.state["step"] == 3 * theory.ROUNDS
    assert panel.error == ""
    panel.buttons["Reset"].click()
    assert panel.state["step"] == 0
    assert panel.image == first
    assert panel.line.startswith("Start: W = 0.20")


@pytest.mark.full
def test_plane_sweep(drawn):
    panel, checked = theory.plane(), set()
    for state in sweep_states(panel):
        before = len(drawn)
        panel.set(**state)
        assert panel.error == ""
        constraint, start = theory.SETS[state["kind"]], (state["start_1"], state["start_2"])
        path, gradient = theory.plane_paths(state["kind"], state["rho"], start)
        if (state["kind"], state["rho"], start) not in checked:
            checked.add((state["kind"], state["rho"], start))
            check_path(path, constraint)
            assert all(in_set(W, constraint) for W in gradient)
        assert path.W[0].tolist() == list(start)
        best = figures.TWO_WEIGHTS.loss(toy.optimum(figures.TWO_WEIGHTS, constraint)).item()
        assert panel.line.startswith(f"Loss after round {state['rounds']}: Z of ADMM ")
        assert f"the best {best:.3f}" in panel.line
        loss = figures.TWO_WEIGHTS.loss(path.Z[state["rounds"]]).item()
        assert f"Z of ADMM {loss:.3f}" in panel.line
        assert loss >= best - 1e-12
        if before != len(drawn):  # not a picture that was kept
            shown = {artist.get_label(): artist.get_xydata() for artist in drawn[-1].axes[0].lines}
            assert (shown["Z of ADMM"] == path.Z[: state["rounds"] + 1].numpy()).all()
    assert len(checked) > 50


def test_plane_buttons_walk_through_the_rounds(drawn):
    panel = theory.plane()
    panel.buttons["Reset"].click()
    assert panel.state["rounds"] == 0
    seen = []
    for _ in range(len(theory.ROUND_COUNTS) + 2):
        panel.buttons["More rounds"].click()
        seen.append(panel.state["rounds"])
    assert seen == [*theory.ROUND_COUNTS[1:], 100, 100, 100]


def test_a_rho_of_the_readers_own_is_on_the_slider():
    assert theory.plane(0.37).state["rho"] == 0.37
    assert theory.number_line(0.37).state["rho"] == 0.37


def test_the_code_of_a_panel_gives_the_panels_numbers():
    line, plane = theory.number_line(), theory.plane()
    line.set(rho=3.0, step=9)
    rows = [row.split() for row in run(line.code).splitlines()]
    path = theory.number_line_path(3.0)
    assert [float(x) for x in rows[3]] == pytest.approx([3, *(each[3].item() for each in path[:3])], abs=1e-5)
    for kind in theory.SETS:
        plane.set(kind=kind, rho=2.0, start_1=-1.0, start_2=2.0, rounds=3)
        path, _ = theory.plane_paths(kind, 2.0, (-1.0, 2.0))
        printed = run(plane.code).splitlines()[-1]
        loss = figures.TWO_WEIGHTS.loss(path.Z[3]).item()
        assert float(printed.split()[-1]) == pytest.approx(loss, abs=1e-5)
        assert len(plane.code.splitlines()) <= 12
