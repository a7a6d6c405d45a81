"""Robustness and transfer: what is measured, of which networks, and what is made of it."""

import pytest
import torch
from torch import nn

import admm_lib as al
from admm_lib import files
from admm_lib import generalization as general
from admm_lib.__main__ import main
from admm_lib.data import Data, Split


@pytest.fixture
def network():
    torch.manual_seed(0)
    layers = nn.Flatten(), nn.Linear(784, 12), nn.ReLU(), nn.Dropout(0.5), nn.Linear(12, 10)
    return nn.Sequential(*layers)


def test_features_are_what_the_last_layer_reads(network):
    inputs = torch.randn(1_203, 1, 28, 28)
    found = general.features(network, inputs)
    assert network.training
    assert not found.requires_grad
    network.eval()
    torch.testing.assert_close(network[-1](found), network(inputs))


def classes(network, useful):
    """Images whose class the features tell, or do not."""
    network.eval()
    torch.manual_seed(1)
    splits = []
    for size in (400, 200, 200):
        inputs = torch.randn(size, 1, 28, 28)
        told = general.features(network, inputs)[:, :2].argmax(1) if useful else torch.randint(0, 2, (size,))
        splits.append(Split(inputs, told + 7))
    return Data("toy", *splits, "toy")


def test_a_linear_classifier_finds_what_is_in_the_features(network):
    assert general.transfer(network, classes(network, useful=True)) > 90
    assert general.transfer(network, classes(network, useful=False)) == pytest.approx(50, abs=12)


def test_transfer_reads_the_test_split_once_at_the_penalty_that_validation_likes(network, monkeypatch):
    images, asked = classes(network, useful=False), []
    from sklearn.pipeline import Pipeline

    monkeypatch.setattr(Pipeline, "fit", lambda self, x, y: self)

    def score(self, x, y):
        asked.append((self[-1].C, len(y), y.tolist() == images.test.targets.tolist()))
        return {0.01: 0.5, 0.1: 0.9, 1.0: 0.9, 10.0: 0.2}[self[-1].C]

    monkeypatch.setattr(Pipeline, "score", score)
    assert general.transfer(network, images) == 90
    assert [each[0] for each in asked] == [*general.STRENGTHS, 0.1]
    assert [each[2] for each in asked] == [False] * 4 + [True]


def test_a_row_for_each_size_of_each_change(network, monkeypatch):
    network.eval()
    sizes = {"FGSM": (0.1,), "PGD-20": (0.1,), "noise": (0.3, 3), "rotation": (30,)}
    monkeypatch.setattr(general, "SIZES", sizes)
    images = torch.rand(40, 1, 28, 28)
    split = Split(images, network(images).argmax(1))
    rows = list(general.changed(network, split))
    asked = [(row["change"], row["size"]) for row in rows]
    assert asked == [(change, size) for change, more in sizes.items() for size in (0, *more)]
    assert all(row["accuracy"] == 100 for row in rows if row["size"] == 0)
    found = {(row["change"], row["size"]): row["accuracy"] for row in rows}
    assert found["PGD-20", 0.1] <= found["FGSM", 0.1] < 50
    under = al.robustness.under(network, split, al.robustness.rotation, 30)
    assert found["rotation", 30] == pytest.approx(under.accuracy, abs=1e-4)


RUNS = [{"seed": 3, "file": "a3.admm"}, {"seed": 4, "file": "a4.admm"}]


@pytest.fixture
def compared(network, monkeypatch, tmp_path):
    """Two records of two seeds each, on digits, with networks that are made up."""
    recipe = {"dataset": "digits", "model": "lenet5", "seeds": [3, 4]}
    asked = []
    monkeypatch.setattr(general, "FOLDER", tmp_path)
    monkeypatch.setattr(general, "COMPARED", {"lenet5": ("mnist", {"element": "one", "filter": "two"})})
    monkeypatch.setattr(general.records, "read", lambda name: {"name": name, "recipe": recipe, "runs": RUNS})
    load = al.data.load
    monkeypatch.setattr(general.data, "load", lambda name: asked.append(name) or load("digits"))
    monkeypatch.setattr(general, "SIZES", {"FGSM": (0.1,), "PGD-20": (), "noise": (), "rotation": ()})
    monkeypatch.setattr(general, "IMAGES", 20)
    monkeypatch.setattr(general, "transfer", lambda model, images: 50.0 + 10 * model.kind)

    def networks(names, recipe, seed, images, report):
        made = {}
        for number, kind in enumerate(("dense", *names)):
            made[kind] = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
            made[kind].kind = number - (seed == 4 and kind == "filter")
        return made

    monkeypatch.setattr(general, "_networks", networks)
    return asked


def test_every_seed_and_network_is_asked_everything(compared, tmp_path, capsys):
    assert main(["generalization", "lenet5"]) == 0
    assert compared == ["digits", "mnist"]
    found = general.read("lenet5")
    assert (found["network"], found["other"], found["images"]) == ("lenet5", "mnist", 20)
    assert found["records"] == {"element": "one", "filter": "two"}
    assert "commit" in found["provenance"]
    rows = found["rows"]
    assert len(rows) == 2 * 3 * (1 + 5)
    assert {(row["seed"], row["network"]) for row in rows} == {
        (seed, kind) for seed in (3, 4) for kind in ("dense", "element", "filter")
    }
    assert general.accuracies(found, "dense", "transfer") == [50, 50]
    assert general.accuracies(found, "filter", "transfer") == [70, 60]
    assert len(general.accuracies(found, "dense", "FGSM", 0.1)) == 2
    difference = general.difference(found, "filter", "element", "transfer")
    assert (difference.mean, difference.count) == (5, 2)
    assert files.read_json(tmp_path / "lenet5.json", {}) == found


def test_a_pair_needs_one_accuracy_for_each_seed(compared):
    rows = [dict(row) for row in general.measure("lenet5")]
    found = {"rows": list(reversed(rows))}
    assert general.accuracies(found, "filter", "transfer") == [70, 60]  # by seed, however they are listed
    with pytest.raises(ValueError, match="filter, FGSM, size None: not one accuracy for each seed"):
        general.difference(found, "filter", "dense", "FGSM")
    found["rows"] = [row for row in rows if (row["seed"], row["network"]) != (4, "filter")]
    with pytest.raises(ValueError, match="filter, transfer, size None: not one"):
        general.difference(found, "filter", "dense", "transfer")


def test_the_networks_are_those_of_the_records(monkeypatch, tmp_path):
    dense = al.models.create("lenet5", 3)
    digits = al.data.load("digits")
    right = al.evaluate(dense, digits.test).accuracy
    al.save(al.models.create("lenet5", 4), tmp_path / "a.admm")
    run = {"seed": 3, "file": "a.admm", "dense_test_accuracy": right}
    recipe = {"model": "lenet5", "method": "admm"}
    monkeypatch.setattr(general.records, "read", lambda name: {"recipe": recipe, "runs": [run]})
    monkeypatch.setattr(general.recipes, "ranks", lambda recipe: {})
    monkeypatch.setattr(general.recipe_stages, "dense", lambda recipe: "dense")
    monkeypatch.setattr(general.data, "HOME", tmp_path / "data")

    class Done:
        network = dense

    monkeypatch.setattr(general.Runner, "go_on", lambda self, path, stage: [Done])
    found = general._networks({"filter": "one"}, recipe, 3, digits, general.pipelines.silent)
    assert found["dense"] is dense
    assert torch.equal(found["filter"].fc1.weight, al.models.create("lenet5", 4).fc1.weight)
    assert not found["filter"].training
    run["dense_test_accuracy"] = right + 1
    with pytest.raises(ValueError, match="one began with another dense network at seed 3"):
        general._networks({"filter": "one"}, recipe, 3, digits, general.pipelines.silent)


def test_what_cannot_be_measured_is_named(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="unknown network 'lenet6': choose one of lenet5, resnet20"):
        next(general.measure("lenet6"))
    monkeypatch.setattr(general, "FOLDER", tmp_path)
    with pytest.raises(FileNotFoundError, match="`admm generalization lenet5`"):
        general.read("lenet5")


def test_networks_of_colour_are_not_changed(compared, monkeypatch):
    monkeypatch.setattr(general.models, "OF_COLOUR", ("lenet5",))
    assert {row["change"] for row in general.measure("lenet5")} == {"transfer"}
