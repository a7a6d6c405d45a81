"""The figures and the panel of notebook 08 show the numbers that they are given, and train as they say."""

from inspect import signature

import numpy as np
import pytest
import torch
from unit.states import sweep_states

import admm_lib as al
from admm_lib.figures import binarization as figures
from admm_lib.figures.style import BLUE, COLORS
from admm_lib.panels import base, binarization
from admm_lib.training import Epoch

WEIGHTS = np.random.default_rng(0).normal(size=500)
MADE = {
    "binary": (al.Binary, 2),
    "ternary": (al.Ternary, 2),
    "2-bit levels": (lambda per: al.Levels(2, per), 4),
    "3-bit levels": (lambda per: al.Levels(3, per), 8),
    "4-bit levels": (lambda per: al.Levels(4, per), 16),
    "2-bit clusters": (lambda per: al.Clusters(2, per=per), 4),
    "3-bit powers of two": (lambda per: al.PowerOfTwo(3, per), 8),
}  # how each set is made, and how many values other than zero it has at most


def drawn(axes):
    """The values on a histogram as (value, from, to) in shares of its height."""
    return [(x, low, high) for (x, low), (_, high) in axes.collections[0].get_segments()]


def test_the_values_are_lines_and_the_errors_are_bars():
    errors = {"conv1": 1.5, "fc1": 40.0}
    left, right = figures.one_layer(WEIGHTS, [np.array([-1.0, 1.0])], errors, "fc1", "a layer").axes
    assert left.get_title(loc="left") == "a layer"
    counts, _ = np.histogram(WEIGHTS, 81)
    assert np.allclose(left.patches[0].get_data().values, np.log10(counts.clip(0.7)))
    assert drawn(left) == [(-1, 0, 1), (1, 0, 1)]
    assert left.get_xlabel() == "weight"
    assert [bar.get_width() for bar in right.patches] == [1.5, 40]
    assert [text.get_text() for text in right.texts] == ["1.5%", "40%"]
    assert [text.get_text() for text in right.get_yticklabels()] == ["conv1", "fc1"]
    assert right.patches[1].get_facecolor() != right.patches[0].get_facecolor()
    assert [text.get_fontweight() for text in right.get_yticklabels()] == ["normal", "bold"]


def test_every_filter_has_a_row_and_at_most_fifty_are_shown():
    left = figures.one_layer(WEIGHTS, [np.array([-1.0, 1]), np.array([0.5])], {"fc1": 1.0}, "fc1", "").axes[0]
    assert drawn(left) == [(-1, 0, 0.5), (1, 0, 0.5), (0.5, 0.5, 1)]
    many = [np.array([float(i)]) for i in range(500)]
    left = figures.one_layer(WEIGHTS, many, {"fc1": 1.0}, "fc1", "").axes[0]
    shown = [value for value, *_ in drawn(left)]
    assert (shown[0], shown[-1], len(shown)) == (0, 499, 50)
    assert set(np.diff(shown)) == {10, 11}
    assert "50 filters" in left.get_xlabel()


def test_accuracies_are_points_on_intervals_beside_the_dense_network():
    rows = {"binary": (97.0, 96.5, 97.5), "snap": (90.0, 89.0, 92.0)}
    other = {"snap": (95.0, 94.0, 96.0), "binary": (98.0, 97.5, 98.5)}
    left, right = figures.accuracies({"here": rows, "there": other}, 99.25, "test accuracy (%)").axes
    for axes, title, found in ((left, "here", rows), (right, "there", other)):
        dense, *points = axes.lines
        assert (dense.get_xdata(), dense.get_color()) == ([99.25, 99.25], COLORS["dense"])
        assert [line.get_xdata().tolist() for line in points] == [[found[label][0]] for label in rows]
        assert [line.get_color() for line in points] == [BLUE, COLORS["snap"]]
        ends = [each.get_segments()[0].tolist() for each in axes.collections]
        assert ends == [[[found[label][1], i], [found[label][2], i]] for i, label in enumerate(rows)]
        assert (axes.get_title(loc="left"), axes.get_xlabel()) == (title, "test accuracy (%)")
    assert [text.get_text() for text in left.get_yticklabels()] == list(rows)
    assert [text.get_text() for text in right.texts] == ["dense: 99.25%"]


@pytest.fixture(scope="module")
def network():
    return al.models.pretrained("lenet5", "digits")


def make(network):
    digits = al.data.load("digits")
    return binarization.values_panel(network, digits.val.subset(60), digits.train.subset(64))


def weights(model):
    """The weights of a plain network by layer."""
    return {
        name.removesuffix(".weight"): weight.detach()
        for name, weight in model.named_parameters()
        if weight.dim() > 1
    }


def check_counts(model, values, per):
    """Each layer, or each filter, has as few values as the set says."""
    most = MADE[values][1]
    for layer, weight in weights(model).items():
        for part in weight if per == "channel" else [weight]:
            count = len(part[part != 0].unique())
            assert 1 <= count <= most
            assert count == most or per == "channel" or values == "3-bit powers of two", layer


def decoded(file, network, values, per):
    """The network in a file, after a look that each layer is projected; every fifth filter is compared."""
    model, some = al.codec.decode(file), slice(None, None, 5 if per == "channel" else 1)
    check_counts(model, values, per)
    for layer, weight in weights(network).items():
        nearest = MADE[values][0](per).project(weight[some])
        assert torch.equal(weights(model)[layer][some], nearest), layer
    for name, other in network.named_parameters():
        assert other.dim() > 1 or torch.equal(model.get_parameter(name), other)
    return model


@pytest.mark.full
def test_every_state_shows_the_projected_network_and_its_file(network, monkeypatch):
    files, shown, encode = [], [], al.codec.encode
    monkeypatch.setattr(al.codec, "encode", lambda model: files.append(encode(model)) or files[-1])
    monkeypatch.setattr(base, "png", lambda figure, **_: shown.append(figure) or b"")  # a sweep is long
    panel, split, known = make(network), al.data.load("digits").val.subset(60), {}
    dense = weights(network)
    figure_of = {tuple(panel.state.values()): shown[0]}
    for state in sweep_states(panel, random=20):
        layer, values, per = key = tuple(state.values())
        panel.set(**state)
        assert panel.error == ""
        left, bars = figure_of.setdefault(key, shown[-1]).axes
        if (values, per) not in known:
            model = decoded(files[-1], network, values, per)
            known[values, per] = weights(model), len(files[-1]), al.evaluate(model, split).accuracy
        few, size, right = known[values, per]
        errors = {name: 100 * float((w - few[name]).norm() / w.norm()) ** 2 for name, w in dense.items()}
        possible = few[layer].unique()
        start = f"{layer}: {len(possible):,} different values, squared error {errors[layer]:.3g}%."
        assert panel.line.startswith(f"{start} All layers, {values} per {per}: {size:,} bytes as a file")
        assert f" {4 * 430_500 / size:.1f} times smaller" in panel.line
        assert panel.line.endswith(f" {right:.1f}% right, nothing trained")
        assert left.get_title(loc="left") == f"{layer}: {values}, per {per}"
        assert np.allclose([bar.get_width() for bar in bars.patches], list(errors.values()))
        assert {value for value, *_ in drawn(left)} <= set(possible.double().tolist())
        rows = {low for _, low, _ in drawn(left)}
        assert len(rows) == (min(len(few[layer]), 50) if per == "channel" else 1)
    assert len(files) == len(known) == 2 * len(MADE)  # each encoded once


def test_the_panel_does_not_follow_the_network():
    network = al.models.pretrained("lenet5", "digits")
    panel = make(network)
    network.conv2.weight.data.zero_()
    panel.set(layer="conv2", values="2-bit levels")
    assert panel.line.startswith("conv2: 4 different values")


@pytest.fixture
def told(monkeypatch):
    """What ADMM and `fit` are told, in order, by the panel or by its code; nothing is trained."""
    events, arguments = [], signature(al.fit)

    class Noted:
        def __init__(self, model, sets, rho=1e-3, schedule=None):
            ramp = [rho * schedule(update) for update in range(4)]
            events.append(("ADMM", sets, np.allclose(ramp, np.geomspace(1e-3, 1e-2, 4), rtol=1e-9)))

        def finalize(self):
            events.append(("finalize",))

    def fit(*args, **more):
        given = arguments.bind(*args, **more)
        given.apply_defaults()
        names = ("epochs", "progress", "admm", "lr", "batch_size", "seed")
        epochs, progress, admm, *settings = (given.arguments[name] for name in names)
        events.append(("fit", epochs, isinstance(admm, Noted), settings))
        for number in range(epochs) if callable(progress) else ():
            progress(Epoch(number + 1, 1.0, 50.0, 0.0))

    for module in (al, binarization):
        monkeypatch.setattr(module, "ADMM", Noted)
        monkeypatch.setattr(module, "fit", fit)
    return events


def check(events, values, per):
    """First the layers in the middle, then the ends, then two epochs of what still trains."""
    expected = []
    for number, layers in enumerate((("conv2", "fc1"), ("conv1", "fc2"))):
        sets = {f"{layer}.weight": MADE[values][0](per) for layer in layers}
        expected += [("ADMM", sets, True), ("fit", 4, True, [2e-3, 64, 4 * number]), ("finalize",)]
    assert events == [*expected, ("fit", 2, False, [2e-3, 64, 8])]
    events.clear()


def test_the_worker_and_the_code_to_copy_train_as_they_say(network, told):
    panel = make(network)
    for values, per in (("2-bit levels", "layer"), ("3-bit levels", "channel")):
        panel.set(values=values, per=per)
        panel.worker.start()
        panel.worker.join(60)
        assert panel.worker.status.endswith("right, after each step")
        check(told, values, per)
    for values in MADE:
        for per in ("layer", "channel"):
            exec(binarization._code("fc1", values, per).replace('"auto"', '"digits"'), {})
            check(told, values, per)


def test_the_code_runs_and_ends_in_the_set(network, monkeypatch):
    monkeypatch.setattr(al, "fit", lambda *args, **more: None)
    panel, scope = make(network), {}
    exec(panel.code.replace('"auto"', '"digits"'), scope)
    decoded(al.codec.encode(scope["model"]), network, "binary", "layer")


def watched(panel, monkeypatch, stop_at=0):
    """Note the model and the epochs of each call of `fit`; Stop is pressed as call `stop_at` begins."""
    calls, fit = [], al.fit

    def noted(model, *args, **more):
        if len(calls) + 1 == stop_at:
            panel.worker.stop()
        calls.append((model, len(fit(model, *args, **more))))

    monkeypatch.setattr(binarization, "fit", noted)
    return calls


def test_the_trained_network_is_in_the_set_every_time_the_same(network, monkeypatch, one_thread):
    panel, before = make(network), [p.detach().clone() for p in network.parameters()]
    calls, picture, ended = watched(panel, monkeypatch), panel.image, []
    for _ in range(2):
        panel.worker.start()
        panel.worker.join(120)
        assert [epochs for _, epochs in calls[-3:]] == [4, 4, 2]
        ended.append((panel.worker.status, al.codec.encode(calls[-1][0])))
    (status, file), again = ended
    assert again == (status, file)
    model = al.codec.decode(file)
    check_counts(model, "binary", "layer")
    right = al.evaluate(model, al.data.load("digits").val.subset(60)).accuracy
    assert status.endswith(f" → {right:.1f}% right, after each step")
    assert (status.count("→"), panel.image) == (2, picture)
    assert all(map(torch.equal, network.parameters(), before))


@pytest.mark.parametrize("call", [1, 2, 3])
def test_stop_ends_the_worker_at_once_and_leaves_the_panel_usable(network, monkeypatch, call):
    panel = make(network)
    calls = watched(panel, monkeypatch, stop_at=call)
    panel.worker.start()
    panel.worker.join(60)
    assert not panel.worker.running
    assert panel.worker.status.startswith("stopped")
    assert "after each step" not in panel.worker.status
    assert [epochs for _, epochs in calls] == [*[4, 4, 2][: call - 1], 1]  # not one epoch more
    panel.set(values="2-bit levels")
    assert (panel.error, "2-bit levels" in panel.line) == ("", True)
    panel.worker.start()
    panel.worker.join(120)
    assert panel.worker.status.endswith("right, after each step")
