"""The figures and the panel of notebook 04 show the numbers that they are given."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from unit.states import sweep_states

import admm_lib as al
from admm_lib.figures import clustering as figures
from admm_lib.figures.style import COLORS
from admm_lib.kmeans import STARTS, kmeans
from admm_lib.panels import clustering

VALUES = np.random.default_rng(0).normal(size=500)


def test_the_way_of_each_centroid_is_drawn():
    figure = figures.one_layer(VALUES, [-2.0, 0, 2], [-1.0, 0, 1], [-1.1, 0.1, 1.2], "a layer")
    above, below = figure.axes
    assert above.get_title(loc="left") == "a layer"
    assert [line.get_xdata()[0] for line in above.lines] == [-1, 0, 1]
    ways = [line.get_xdata().tolist() for line in below.lines[:3]]
    assert ways == [[-2, -1], [0, 0], [2, 1]]
    assert below.lines[-1].get_xdata().tolist() == [-1.1, 0.1, 1.2]


def test_centroids_lie_on_the_distribution():
    found = {"linear": [-1.0, 1.0], "density": [0.0, 0.5]}
    left, right = figures.where_centroids_lie(VALUES, found).axes
    for line, (start, centroids) in zip(right.lines[1:], found.items(), strict=True):
        assert line.get_color() == COLORS[start]
        assert line.get_xdata().tolist() == centroids
        assert line.get_ydata().tolist() == [(c >= VALUES).mean() for c in centroids]
    assert [line.get_label() for line in left.lines] == list(found)


@pytest.mark.parametrize("log", [False, True])
def test_lines_against_bits(log):
    points = {
        "linear": {2: (1.0, 0.9, 1.1), 3: (0.5, 0.4, 0.6)},
        "forgy": {2: (2.0, 2.0, 2.0), 3: (1.0, 1, 1)},
    }
    figure = figures.against_bits({"LeNet-5": points, "LeNet-300-100": points}, "error", log)
    first, second = figure.axes
    assert [pane.get_title(loc="left") for pane in (first, second)] == ["LeNet-5", "LeNet-300-100"]
    assert [line.get_ydata().tolist() for line in second.lines] == [[1, 0.5], [2, 1]]
    assert first.get_yscale() == ("log" if log else "linear")
    if log:
        figure.canvas.draw()
        shown = [text.get_text() for text in first.get_yticklabels()]
        assert {"0.5", "1", "2"} <= set(shown)


def test_the_legend_names_the_lines_of_all_panes():
    def pane(*labels):
        return {label: {1: (1.0, 1.0, 1.0), 2: (0.5, 0.5, 0.5)} for label in labels}

    figure = figures.against_bits({"a": pane("conv1", "fc1"), "b": pane("fc1", "fc3")}, "error")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["conv1", "fc1", "fc3"]


@pytest.fixture(scope="module")
def panel():
    dense = al.models.pretrained("lenet5", "digits")
    pruned = al.models.pretrained("lenet5", "digits")
    al.ADMM(pruned, al.suggest(pruned, 50)).finalize()
    networks = {"dense": dense, "pruned": al.bake(pruned)}
    return clustering.centroids_panel(networks, al.data.load("digits").val.subset(50)), networks


@pytest.mark.full
def test_every_state_shows_at_most_that_many_values(panel):
    panel, networks = panel
    for state in sweep_states(panel, random=20):
        panel.set(**state)
        assert panel.error == ""
        weight = networks[state["network"]].get_parameter(f"{state['layer']}.weight").detach()
        kept = weight[weight != 0]
        figure = panel.figure()
        ends = figure.axes[0].lines
        assert len(ends) == min(2 ** state["bits"], len(kept.unique()))
        assert f"{len(kept):,} weights" in panel.line


def test_the_line_tells_error_and_accuracy(panel):
    panel, networks = panel
    panel.set(network="dense", layer="fc2", bits=2, start="optimal")
    weight = networks["dense"].fc2.weight.detach()
    best = kmeans(weight, 4)
    assert f"squared error {best.error:.3g}, 0.0% above the least" in panel.line
    cut = al.models.pretrained("lenet5", "digits")
    with torch.no_grad():
        cut.fc2.weight.copy_(al.Clusters(2).project(cut.fc2.weight))
    right = al.evaluate(cut, al.data.load("digits").val.subset(50)).accuracy
    assert f"{right:.1f}% right" in panel.line
    assert torch.equal(networks["dense"].fc2.weight, weight)


def test_code_and_files_are_of_the_network_on_show():
    split = al.data.load("digits").val.subset(20)
    panel = clustering.centroids_panel({"dense": al.models.pretrained("lenet300", "digits")}, split)
    panel.set(layer="fc3")
    assert 'pretrained("lenet300", data.name)' in panel.code
    assert '"fc3.weight"' in panel.code
    panel.buttons["Save .admm"].click()
    assert "lenet300-dense-fc3-3bit-linear.admm" in panel.link


def test_the_code_runs(panel, monkeypatch):
    panel, _ = panel
    digits = al.data.load("digits")
    small = replace(digits, train=digits.train.subset(64), val=digits.val.subset(50))
    monkeypatch.setattr(al.data, "load", lambda name: small)
    for network in ("dense", "pruned"):
        panel.set(network=network, layer="fc2", bits=2, start="linear")
        scope = {}
        exec(panel.code, scope)
        weight = scope["model"].fc2.weight.detach()
        assert len(weight[weight != 0].unique()) <= 4
    assert set(STARTS) == {"forgy", "density", "linear", "k-means++", "optimal"}
