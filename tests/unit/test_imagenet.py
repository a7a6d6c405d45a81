"""OPQ's solution on networks for ImageNet: measured as its words say, and honest about its weights."""

from urllib.error import URLError

import pytest
import torch
from torch import nn

from admm_lib import imagenet, imagenet_cost
from admm_lib.__main__ import main


@pytest.fixture
def no_way_out(monkeypatch):
    """torchvision where nothing can be downloaded, and with small networks."""

    class Models:
        @staticmethod
        def get_model(name, weights):
            if weights is not None:
                raise URLError("no network here")
            return nn.Sequential(nn.Linear(2_000, 500), nn.Linear(500, 10))

    class Torchvision:
        models = Models

    monkeypatch.setattr(imagenet, "torchvision", Torchvision)


@pytest.mark.usefixtures("no_way_out")
def test_a_row_says_what_was_solved_and_on_which_weights():
    row = imagenet_cost.opq_cost("alexnet", rounds=3)
    assert (row["network"], row["weights"]) == ("alexnet", "random")
    assert (row["count"], row["layers"]) == (1_005_000, 2)
    assert row["seconds"] > 0 < row["pass_seconds"]
    assert row["passes"] > 1  # it does more than a sum
    assert row["extra_bytes"] is None or 0 <= row["extra_bytes"] < 50_000_000


def test_trained_weights_are_taken_where_they_can_be_had(monkeypatch):
    class Torchvision:
        class models:
            get_model = staticmethod(lambda name, weights: nn.Linear(2, 2) if weights == "DEFAULT" else None)

    monkeypatch.setattr(imagenet, "torchvision", Torchvision)
    model, weights = imagenet.network("resnet50")
    assert isinstance(model, nn.Linear)
    assert weights == "ImageNet"
    with pytest.raises(ValueError, match="the networks are alexnet, vgg16, resnet50, mobilenet_v2"):
        imagenet.network("resnet51")
    assert imagenet.untrained("resnet50") is None  # weights=None was asked for
    with pytest.raises(ValueError, match="the networks are alexnet, vgg16, resnet50, mobilenet_v2"):
        imagenet.untrained("resnet51")


@pytest.mark.usefixtures("no_way_out")
def test_what_is_recorded_is_read(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(imagenet_cost, "OPQ", tmp_path / "opq" / "imagenet.json")
    with pytest.raises(FileNotFoundError, match="measure it with `admm imagenet`"):
        imagenet_cost.read()
    assert main(["imagenet", "--rounds", "2"]) == 0
    assert "vgg16, random weights: 1,005,000 weights in 2 layers" in capsys.readouterr().out
    found = imagenet_cost.read()
    assert [row["network"] for row in found["rows"]] == list(imagenet.NETWORKS)
    assert found["rounds"] == 2


@pytest.mark.full
def test_the_real_networks_have_the_weights_that_are_known_of_them():
    counts = {"alexnet": 61_090_496, "mobilenet_v2": 3_469_760}
    for name, count in counts.items():
        model, _ = imagenet.network(name)
        layers = imagenet.prunable(model).values()
        assert sum(weight.numel() for weight in layers) == count
        assert all(weight.dtype == torch.float32 for weight in layers)
