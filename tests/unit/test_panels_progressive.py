"""The panel of notebook 03: its schedule is exact, and the run follows it."""

import numpy as np
import pytest

import admm_lib as al
from admm_lib.allocation import in_steps
from admm_lib.panels import progressive
from admm_lib.panels.base import sweep_states


@pytest.fixture(scope="module")
def panel():
    digits = al.data.load("digits")
    network = al.models.pretrained("lenet5", "digits")
    return progressive.schedule_panel(network, digits.val.subset(60), digits.train.subset(64))


def test_the_schedule_is_what_will_be_run(panel):
    network = al.models.lenet5()
    for state in sweep_states(panel):
        panel.set(**state)
        assert panel.error == ""
        above, below = panel.figure().axes
        kept = above.patches[0].get_data().values
        assert len(kept) == progressive.EPOCHS
        assert kept[-1] == int(430_500 / state["ratio"])
        expected = [
            sum(each.keep for each in sets.values())
            for sets in in_steps(network, al.suggest(network, state["ratio"]), state["steps"])
        ]
        assert list(dict.fromkeys(kept)) == expected
        rho = below.lines[0].get_ydata()
        half = progressive.EPOCHS // state["steps"] // 2
        assert (
            np.isnan(rho).reshape(state["steps"], 2, half).tolist()
            == [[[False] * half, [True] * half]] * state["steps"]
        )
        starts = rho.reshape(state["steps"], 2 * half)[:, 0]
        assert np.allclose(starts, state["start"])  # low again in every step
        assert np.allclose(rho.reshape(state["steps"], 2 * half)[:, half - 1], state["end"])


def test_run_follows_the_schedule_and_leaves_the_network_alone(panel):
    panel.set(ratio=20, steps=2)
    before = panel.image
    panel.worker.start()
    panel.worker.join(120)
    assert not panel.worker.running
    assert panel.worker.status.endswith("right, after each step")
    assert panel.worker.status.count("→") == 1  # two steps
    assert panel.image == before


def test_stop_ends_a_run(panel):
    panel.worker.start()
    panel.worker.stop()
    panel.worker.join(60)
    assert not panel.worker.running
    assert panel.worker.status.startswith("stopped")


def test_the_code_to_copy_runs_and_keeps_what_it_says(panel):
    panel.set(ratio=350, steps=3)
    code = panel.code.replace('"auto"', '"digits"')
    scope = {}
    exec(code, scope)
    kept = sum(int(p.count_nonzero()) for p in al.bake(scope["model"]).parameters() if p.dim() > 1)
    assert kept == int(430_500 / 350)
