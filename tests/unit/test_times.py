"""Times of pruned networks: of the networks that they say, and in the file that they are read from."""

import json

import pytest
import torch

import admm_lib as al
from admm_lib import times
from admm_lib.__main__ import main
from admm_lib.storage import count


@pytest.mark.parametrize(
    ("network", "by"),
    [("lenet5", "element"), ("lenet5", "block"), ("lenet5", "filter"), ("lenet300", "filter"),
     pytest.param("resnet20", "channel", marks=pytest.mark.full)],
)  # fmt: skip
def test_networks_are_pruned_to_about_the_ratio(network, by):
    model = times.pruned(network, by, 4)
    assert not model.training
    if by in ("filter", "channel"):
        inputs = torch.zeros(2, *times.SHAPES[network])
        model = al.shrink(model, inputs) if by == "channel" else al.shrink(model)
    left = sum(layer.nonzeros for layer in count(model))
    total = sum(layer.weights for layer in count(al.models.create(network)))
    assert total / left == pytest.approx(4, rel=0.06)


def test_a_group_of_each_layer_stays():
    model = times.pruned("lenet5", "filter", 1e6)
    assert [layer.nonzeros for layer in count(model)] == [25, 500, 800, 5_000]


@pytest.mark.full
def test_a_row_for_each_way_in_its_order():
    rows = list(times.measure("lenet5", batches=(1, 3), threads=(1,), ratios=(16,), rounds=2))
    ways = {
        "element": ["dense", "ONNX Runtime", "CSR"], "block": ["dense", "ONNX Runtime", "BSR"],
        "filter": ["dense", "ONNX Runtime", "shrunk", "shrunk, ONNX Runtime"],
    }  # fmt: skip
    expected = [(by, batch, way) for by in ways for batch in (1, 3) for way in ways[by]]
    assert [(row["by"], row["batch"], row["way"]) for row in rows] == expected
    for row in rows:
        low, high = row["quartiles"]
        assert 0 < low <= row["over_dense"] <= high
        assert row["seconds"] > 0
        assert row["way"] != "dense" or (low, row["over_dense"], high) == (1, 1, 1)
        assert row["threads"] == 1


def test_an_unknown_network_is_refused():
    with pytest.raises(ValueError, match="unknown network 'lenet6': choose one of lenet300, lenet5"):
        next(times.measure("lenet6"))


def test_what_is_recorded_is_read(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(times, "FOLDER", tmp_path / "times")
    with pytest.raises(FileNotFoundError, match="measure them with `admm times lenet300`"):
        times.read("lenet300")
    rows = [{"by": "element", "ratio": 4.0}]
    monkeypatch.setattr(times, "measure", lambda network, report, **more: rows)
    assert main(["times", "lenet300"]) == 0
    assert "lenet300.json" in capsys.readouterr().out
    found = times.read("lenet300")
    assert (found["network"], found["rows"]) == ("lenet300", rows)
    assert found["cpu"]
    assert {"torch", "threads", "commit"} <= set(found["provenance"])
    assert json.loads((tmp_path / "times" / "lenet300.json").read_text()) == found
