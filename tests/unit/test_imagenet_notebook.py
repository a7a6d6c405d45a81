"""The figures of notebook 09 show what they are given, its panel what was measured."""

import contextlib
import io

import pytest
from unit.states import sweep_states

from admm_lib import imagenet, imagenet_cost
from admm_lib.figures import imagenet as figures
from admm_lib.panels import imagenet as panels
from admm_lib.records import Interval

ROW = {
    "network": "alexnet",
    "weights": "random",
    "layers": [
        {"name": "a", "weights": 1_000, "update": {"1 weight in 10": 0.01, "3-bit levels": 0.02}},
        {"name": "b", "weights": 3_000, "update": {"1 weight in 10": 0.03, "3-bit levels": 0.04}},
    ],
    "penalty_seconds": 0.001,
    "optimizer_seconds": 0.002,
    "step_seconds": {"4": 0.5, "16": 1.1},
}


def test_an_epoch_is_its_steps_and_its_updates():
    steps = imagenet_cost.IMAGES / 64
    spent = imagenet_cost.share(ROW, 64, "3-bit levels", updates=2)
    assert spent == {
        "forward and backward": pytest.approx(steps * (0.3 + 64 * 0.05)),
        "optimizer": pytest.approx(steps * 0.002),
        "penalty's gradient": pytest.approx(steps * 0.001),
        "Z- and U-updates": pytest.approx(0.12),
    }


def test_memory_is_copies_of_the_weights():
    held = imagenet_cost.copies(ROW)
    assert held["weights"] == held["gradients"] == held["momentum"] == 16_000
    assert held["Z and U"] + held["U - Z, for the gradient"] == 48_000
    assert held["while updating"] == 2.25 * 12_000


def test_updates_are_a_mark_for_each_layer_beside_proportional_time():
    points = {"alexnet": [(1_000, 0.1), (4_000, 0.2)], "vgg16": [(2_000, 0.3)]}
    (axes,) = figures.updates({"one set": points}).axes
    line, *marks = axes.lines
    assert [each.get_xydata().tolist() for each in marks] == [[list(p) for p in of] for of in points.values()]
    assert [each.get_label() for each in marks] == list(points)
    x, y = line.get_data()
    assert y / x == pytest.approx([0.2 / 4_000] * 2)


def test_cost_is_marks_of_time_and_a_bar_of_memory_for_each_network():
    seconds, held = {"forward and backward": 3.0, "optimizer": 1.0}, {"weights": 2e9, "Z and U": 4e9}
    time, memory = figures.cost({"one": (seconds, held), "other": (seconds, held)}, "title").axes
    assert [line.get_xydata().tolist() for line in time.lines] == [
        [[spent, row]] for row in (0, 1) for spent in (3.0, 1.0)
    ]
    assert [bar.get_width() for bar in memory.patches] == pytest.approx([2, 4] * 2)
    assert [bar.get_x() for bar in memory.patches] == pytest.approx([0, 2] * 2)
    assert [text.get_text() for text in time.get_yticklabels()] == ["one", "other"]


def test_shares_and_losses_are_those_given():
    (axes,) = figures.shares({"one": {"conv1": 80.0, "fc1": 2.0}, "other": {"conv1": 81.0, "fc1": 9.0}}).axes
    assert [[bar.get_height() for bar in each] for each in axes.containers] == [[80.0, 2.0], [81.0, 9.0]]
    found = {"one": Interval(-0.5, -0.9, -0.1, 3), "other": Interval(0.1, 0.0, 0.2, 3)}
    (axes,) = figures.losses(found, {"one": -0.8}).axes
    drawn = [line.get_xydata().tolist() for line in axes.lines if line.get_marker() == "|"]
    assert [[-0.8, 0]] in drawn
    for place, (container, each) in enumerate(zip(axes.containers, found.values(), strict=True)):
        assert container[0].get_xydata().tolist() == [[each.mean, place]]
        ends = container[2][0].get_segments()[0].tolist()
        assert ends == [[pytest.approx(each.low), place], [pytest.approx(each.high), place]]


@pytest.fixture(scope="module")
def panel():
    return panels.cost_panel(imagenet_cost.read_admm())


def test_the_panel_shows_what_was_measured(panel):
    measured = imagenet_cost.read_admm()
    assert set(measured) == set(imagenet.NETWORKS)
    for state in sweep_states(panel):
        panel.set(**state)
        assert panel.error == ""
        row = measured[state["network"]]
        spent = imagenet_cost.share(row, state["images"], state["kind"], state["updates"])
        time, memory = panel.figure().axes
        assert [line.get_xdata()[0] for line in time.lines] == pytest.approx(list(spent.values()))
        held = [each / 1e9 for each in imagenet_cost.copies(row).values()]
        assert [bar.get_width() for bar in memory.patches] == pytest.approx(held)
        ours = sum(list(spent.values())[2:]) / sum(list(spent.values())[:2])
        assert f"ADMM adds {100 * ours:.2f}% to an epoch" in panel.line


def test_the_code_to_copy_runs(panel, monkeypatch):
    from torch import nn

    monkeypatch.setattr(imagenet, "network", lambda name: (nn.Linear(20, 10), "random"))
    for kind in imagenet_cost.SETS:
        panel.set(network="resnet50", kind=kind, updates=2)
        with contextlib.redirect_stdout(io.StringIO()) as said:
            exec(panel.code, {})
        assert said.getvalue().startswith("random weights, ")


def test_what_admm_costs_is_measured_layer_by_layer(monkeypatch, tmp_path):
    from torch import nn

    def network(name):
        layers = nn.Conv2d(3, 4, 16, stride=16), nn.ReLU(), nn.Flatten(), nn.Linear(784, 5)
        return nn.Sequential(*layers), "random"

    monkeypatch.setattr(imagenet_cost, "network", network)
    monkeypatch.setattr(imagenet_cost, "ADMMS", tmp_path / "imagenet" / "admm.json")
    told = []
    imagenet_cost.record_admm(rounds=1, report=told.append)
    assert len(told) == len(imagenet.NETWORKS)
    row = imagenet_cost.read_admm()["vgg16"]
    assert [(layer["name"], layer["weights"]) for layer in row["layers"]] == [("0", 3_072), ("3", 3_920)]
    assert all(seconds > 0 for layer in row["layers"] for seconds in layer["update"].values())
    assert set(row["step_seconds"]) == {"4", "16"}
    assert row["penalty_seconds"] > 0 < row["optimizer_seconds"]
