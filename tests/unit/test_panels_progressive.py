"""The panel of notebook 03: its schedule is exact, and the run follows it."""

from inspect import signature

import numpy as np
import pytest
import torch
from unit.states import sweep_states

import admm_lib as al
from admm_lib.allocation import in_steps
from admm_lib.panels import base, progressive
from admm_lib.training import Epoch


@pytest.fixture
def network():
    return al.models.pretrained("lenet5", "digits")


@pytest.fixture
def panel(network):
    digits = al.data.load("digits")
    return progressive.schedule_panel(network, digits.val.subset(60), digits.train.subset(64))


@pytest.fixture
def told(monkeypatch):
    """What ADMM and `fit` are told, in order, by the panel or by its code; nothing is trained."""
    events, admm, arguments = [], al.ADMM, signature(al.fit)

    class Noted(admm):
        def __init__(self, model, sets, rho=1e-3, schedule=None):
            events.append(("ADMM", sets, rho, schedule))
            super().__init__(model, sets, rho, schedule)

        def finalize(self):
            events.append(("finalize",))
            super().finalize()

    def fit(*args, **more):
        given = arguments.bind(*args, **more)
        given.apply_defaults()
        epochs, progress = (given.arguments[name] for name in ("epochs", "progress"))
        paired = isinstance(given.arguments["admm"], Noted)
        events.append(("fit", epochs, paired, given.arguments["lr"], given.arguments["seed"]))
        for number in range(epochs) if callable(progress) else ():
            progress(Epoch(number + 1, 1.0, 50.0, 0.0))

    for module in (al, progressive):
        monkeypatch.setattr(module, "ADMM", Noted)
        monkeypatch.setattr(module, "fit", fit)
    return events


def check(events, ratio, steps, start, end):
    """Every step: ADMM with its budgets and rho from `start` to `end`, and as many epochs of retraining."""
    model, half = al.models.lenet5(), progressive.EPOCHS // steps // 2
    assert len(events) == 4 * steps
    for number, sets in enumerate(in_steps(model, al.suggest(model, ratio), steps)):
        (name, given, rho, schedule), *rest = events[4 * number : 4 * number + 4]
        assert (name, given) == ("ADMM", sets)
        assert schedule is not None
        ramp = [rho * schedule(update) for update in range(half)]
        assert np.allclose(ramp, np.geomspace(start, end, half), rtol=1e-9)
        seed = 2 * half * number
        assert rest == [
            ("fit", half, True, 2e-3, seed),
            ("finalize",),
            ("fit", half, False, 2e-3, seed + half),
        ]


STATES = [
    {"ratio": 71.2, "steps": 2, "start": 3e-4, "end": 3e-2},
    {"ratio": 350, "steps": 3, "start": 1e-2, "end": 1e-3},
]


def test_the_schedule_is_what_will_be_run(panel, network, monkeypatch):
    monkeypatch.setattr(base, "png", lambda figure, **_: b"")  # a sweep is about numbers, and long
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


@pytest.mark.parametrize("state", STATES)
def test_run_follows_the_schedule_on_show(panel, told, state):
    panel.set(**state)
    panel.worker.start()
    panel.worker.join(60)
    assert panel.worker.status.endswith("right, after each step")
    check(told, **state)


@pytest.mark.parametrize("state", STATES)
def test_the_code_to_copy_follows_the_schedule_and_keeps_what_it_says(panel, told, state):
    panel.set(**state)
    scope = {}
    exec(panel.code.replace('"auto"', '"digits"'), scope)
    check(told, **state)
    kept = sum(int(p.count_nonzero()) for p in al.bake(scope["model"]).parameters() if p.dim() > 1)
    assert kept == int(430_500 / state["ratio"])


def test_run_says_how_each_step_ended_and_leaves_the_network_alone(panel, network):
    panel.set(ratio=20, steps=2)
    before, weights = panel.image, [p.detach().clone() for p in network.parameters()]
    panel.worker.start()
    panel.worker.join(120)
    assert not panel.worker.running
    assert panel.worker.status.endswith("right, after each step")
    assert panel.worker.status.count("→") == 1  # two steps
    assert panel.image == before
    assert all(map(torch.equal, network.parameters(), weights))


def test_stop_ends_a_run(panel):
    panel.worker.start()
    panel.worker.stop()
    panel.worker.join(60)
    assert not panel.worker.running
    assert panel.worker.status.startswith("stopped")
