"""The panels of notebooks 00 and 02: every control swept, and what they show checked by its numbers."""

import time

import numpy as np
import pytest
import torch
from unit.states import sweep_states

import admm_lib as al
from admm_lib.figures import one_shot as figures
from admm_lib.panels import one_shot, quickstart


@pytest.fixture(scope="module")
def digits():
    return al.data.load("digits")


@pytest.fixture(scope="module")
def dense(digits):
    return al.models.pretrained("lenet5", "digits")


def nonzeros(model):
    return {name: int(p.count_nonzero()) for name, p in al.bake(model).named_parameters() if p.dim() > 1}


def test_quickstart_sweep(dense, digits):
    panel = quickstart.pruning_panel({"dense": dense}, digits.val.subset(100))
    pictures = {}
    for state in sweep_states(panel, random=10):
        panel.set(**state)
        assert panel.error == ""
        assert f"keeps {int(430_500 / state['ratio']):,} of 430,500" in panel.line
        assert pictures.setdefault(state["ratio"], panel.image) == panel.image  # back is the same picture
    assert len(set(pictures.values())) == len(quickstart.RATIOS)


def test_the_accuracies_on_show_are_those_of_the_cut_network(dense, digits):
    table = quickstart.pruned_accuracy(dense, digits.val)
    pruned = al.models.pretrained("lenet5", "digits")
    kept = quickstart.cut(pruned, 50)
    assert sum(kept.values()) == sum(nonzeros(pruned).values()) == 8610
    assert table[50] == al.evaluate(pruned, digits.val).accuracy
    assert table[1] == al.evaluate(dense, digits.val).accuracy > table[350]


def test_words(dense):
    panel = quickstart.words_panel()
    for state in sweep_states(panel, random=10):
        panel.set(**state)
        assert panel.error == ""
    figure = panel.figure(ratio=167, weights=430_500)
    (title,) = [axes.get_title() for axes in figure.axes]
    assert title == "167x  =  99.40% zeros  =  2,577 of 430,500 weights"
    dots = figure.axes[0].collections[0].get_facecolors()
    assert (dots != dots[-1]).any(axis=1).sum() == 6  # of a thousand


@pytest.mark.full
def test_layers_sweep_is_exactly_sparse(dense, digits):
    panel = one_shot.layers_panel(
        {"dense": dense, "same": dense}, digits.val.subset(60), digits.train.subset(64)
    )
    sizes = {"conv1": 500, "conv2": 25_000, "fc1": 400_000, "fc2": 5_000}
    for state in sweep_states(panel):
        panel.set(**state)
        assert panel.error == ""
        budgets = {layer: int(size / state[layer] + 1e-9) for layer, size in sizes.items()}
        assert f"{sum(budgets.values()):,} weights left" in panel.line
        figure = panel.figure()
        titles = [text.get_text() for text in figure.axes[0].texts]
        assert titles == [f"{layer}: {budget:,}" for layer, budget in budgets.items()]
    cut = one_shot.pruned(dense, {layer: panel.state[layer] for layer in sizes})
    assert nonzeros(cut) == {f"{layer}.weight": budget for layer, budget in budgets.items()}
    assert not hasattr(dense.fc1, "parametrizations")  # the reader's network is left as it was


def test_flipped_images_are_those_whose_answer_changed(dense, digits):
    split = digits.val.subset(60)
    panel = one_shot.layers_panel({"dense": dense}, split, digits.train.subset(64))
    panel.set(conv1=12, conv2=50, fc1=500, fc2=60)
    before = one_shot.predict(dense, split)
    ratios = {layer: panel.state[layer] for layer in one_shot.RATIOS}
    after = one_shot.predict(one_shot.pruned(dense, ratios), split)
    changed = (before != after).nonzero().flatten()[: figures.COLUMNS]
    shown = [text.get_text() for text in panel.figure().axes[2].texts]
    assert shown == [f"{split.targets[i]}: {before[i]} → {after[i]}" for i in changed]
    panel.set(conv1=1, conv2=1, fc1=1, fc2=1)
    assert not panel.figure().axes[2].texts  # nothing pruned, nothing flipped


def test_retrain_reports_and_stops_after_the_current_step(dense, digits):
    panel = one_shot.layers_panel({"dense": dense}, digits.val.subset(60), digits.train, epochs=1000)
    panel.worker.start()
    while "→" not in panel.worker.status:
        assert panel.worker.running
        time.sleep(0.02)
    panel.worker.stop()
    panel.worker.join(5)
    assert not panel.worker.running  # after the current step, not after a thousand epochs
    assert "stopped" in panel.worker.status
    assert 0 < panel.worker.progress < 1


def test_the_code_to_copy_runs(dense, digits, monkeypatch, tmp_path, capsys):
    panels = [
        quickstart.pruning_panel({"dense": dense}, digits.val.subset(20)),
        one_shot.layers_panel({"dense": dense, "after ADMM": dense}, digits.val.subset(20), digits.train),
    ]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(al.data, "load", lambda name: digits)
    real_fit = al.fit
    monkeypatch.setattr(al, "fit", lambda model, data, epochs, **more: real_fit(model, data, 1, **more))
    for panel in panels:
        exec(panel.code, {})
    assert "loss" in capsys.readouterr().out


def test_learning_draws_every_epoch():
    figure = figures.training_curves(
        {"admm": [50.0, 90.0], "magnitude": [80.0, 85.0]},
        1,
        99.0,
        {"conv1": [0.5], "fc1": [0.2]},
    )
    left, right = figure.axes
    assert [list(line.get_ydata()) for line in left.lines[2:]] == [[50.0, 90.0], [80.0, 85.0]]
    assert [list(line.get_ydata()) for line in right.lines] == [[0.5], [0.2]]


def test_recorded_runs_shows_every_seed():
    figure = figures.recorded_runs({"a": ([99.0, 99.1], [98.9, 99.0]), "b": ([99.2], [99.3])}, 99.2)
    points = [sorted(map(float, line.get_xdata())) for line in figure.axes[0].lines]
    assert [99.0, 99.1] in points
    assert [98.9, 99.0] in points
    assert [99.3] in points


def test_each_mask_stands_under_its_histogram():
    weights = {"a": torch.randn(3, 1, 2, 2), "b": torch.randn(120, 900)}
    masks = {"b": weights["b"].abs() > 1, "a": weights["a"].abs() > 1}
    above, below, _ = figures.pruned_layers(weights, masks, [], "headline").axes
    for column, name in enumerate(weights):
        picture = below.images[column]
        left, right, *_ = picture.get_extent()
        assert above.texts[column].get_position()[0] == left
        assert above.texts[column].get_text() == f"{name}: {int(masks[name].sum()):,}"
        places = above.get_xticks()[3 * column : 3 * column + 3]
        assert np.allclose(places, [left, (left + right) / 2, right])
        everything, kept = (above.patches[2 * column + k].get_data().values for k in (0, 1))
        counted = [np.round(10**each[each > np.log10(0.7)]).sum() for each in (everything, kept)]
        assert counted == [weights[name].numel(), int(masks[name].sum())]
    assert (below.images[0].get_array() == masks["a"].flatten(1).float().numpy()).all()
    assert below.images[1].get_array().shape == (50, 80)
