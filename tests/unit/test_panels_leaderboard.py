"""The panel of notebook 10: every state drawn, and what it says checked against the claims."""

import contextlib
import io
import re

import pytest
from unit.states import sweep_states

from admm_lib import claims, records
from admm_lib.figures import leaderboard as figures
from admm_lib.panels import base, leaderboard


@pytest.fixture
def panel(monkeypatch):
    """Not turned into pixels: a sweep is about numbers, and long."""
    monkeypatch.setattr(base, "png", lambda figure, **_: b"")
    return leaderboard.ratios()


def test_sweep(panel):
    published = claims.claims()
    for state in sweep_states(panel):
        panel.set(**state)
        assert panel.error == ""
        track, counted = leaderboard.TRACKS[state["network"]], state["counted"]
        chosen = [claim for claim in published if claim.track == track and claim.ratio]
        chosen = [claim for claim in chosen if counted in (claim.counts, "everything")]
        stated = [claim for claim in chosen if claim.test_error is not None]
        assert panel.line.startswith(f"{len(chosen)} published numbers, {len(stated)} with an error; ")
        good = [c.ratio for c in stated if c.verified == "yes" and 100 - c.test_error >= 99]
        best = re.search(r"verified (?:none|([\d,.]+)x)", panel.line)[1]
        assert best == (f"{max(good):,.1f}" if good else None)
        whole, mean = re.search(r"whole interval, (\S+).*, by the mean alone (\S+)", panel.line).groups()
        if "none" not in whole:
            assert float(whole.rstrip("x").replace(",", "")) <= float(mean.rstrip("x").replace(",", ""))


def test_ours_count_what_theirs_do(panel):
    file = records.read("lenet5-71x")
    for counted in ("weights", "file"):
        panel.set(counted=counted)
        bars = panel.figure().axes[0].containers
        drawn = [x for bar in bars for x in bar.lines[0].get_xdata()]
        assert claims.measured(file, counted) in drawn
        assert f"their ratios count {counted}." in panel.line
    panel.set(counted=claims.STRUCTURED)
    assert "9 records, their ratios count structured weights." in panel.line
    assert "verified 156.0x" in panel.line
    for counted in ("everything", claims.NOT_READ):
        panel.set(counted=counted)
        assert "their ratios count weights." in panel.line


def test_the_code_runs_and_draws_what_the_panel_draws_without_arms_of_studies(panel, monkeypatch):
    given, draw = [], figures.accuracy_against_ratio
    monkeypatch.setattr(figures, "accuracy_against_ratio", lambda *args: given.append(args) or draw(*args))
    panel.figure()
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(panel.code, "panel", "exec"), {})
    (published, ours, track, _, *counted), (_, *others) = given
    assert published == claims.claims()
    assert [others[0], others[1], *others[3:]] == [ours, track, *counted]
    assert [each["name"] for each in ours] == records.headlines() != records.names()
