"""Times of pruned networks: of the networks that they say, and in the file that they are read from."""

import pytest
import torch

import admm_lib as al
from admm_lib import files, times
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
    with pytest.raises(FileNotFoundError, match=r"lenet300\.json: measure it with `admm times lenet300`"):
        times.read("lenet300")
    rows = [{"by": "element", "ratio": 4.0}]
    asked = []
    monkeypatch.setattr(times, "measure", lambda network, report, rounds: asked.append(rounds) or rows)
    assert main(["times", "lenet300", "--rounds", "7"]) == 0
    assert asked == [7]
    assert "lenet300.json" in capsys.readouterr().out
    found = times.read("lenet300")
    assert (found["network"], found["rounds"], found["rows"]) == ("lenet300", 7, rows)
    assert found["cpu"]
    assert {"torch", "threads", "commit"} <= set(found["provenance"])
    assert files.read_json(tmp_path / "times" / "lenet300.json", {}) == found


def test_the_rows_of_the_nearest_ratio_are_found():
    rows = [
        {"by": by, "batch": batch, "threads": 1, "ratio": ratio, "way": way, "over_dense": ratio + batch}
        for by in ("element", "filter") for batch in (1, 256) for ratio in (2, 8) for way in ("dense", "it")
    ]  # fmt: skip
    found = times.nearest({"rows": rows}, "filter", 4.1, 256, 1)
    assert {way: (row["by"], row["over_dense"]) for way, row in found.items()} == dict.fromkeys(
        ("dense", "it"), ("filter", 264)
    )
    assert times.nearest({"rows": rows}, "filter", 3.9, 1, 1)["it"]["over_dense"] == 3
    assert times.nearest({"rows": rows}, "column", 4, 1, 1) == {}
    assert times.nearest({"rows": rows}, "filter", 4, 1, threads=2) == {}


@pytest.mark.parametrize("by", ["element", "channel", "column", "kernel", "block", "n:m", "filter"])
def test_a_given_network_is_pruned_and_stays_as_it_is(by):
    network = al.models.create("lenet5", 3)
    before = network.conv2.weight.detach().clone()
    model = times.pruned("lenet5", by, 5, network)
    assert torch.equal(network.conv2.weight, before)
    weight = model.conv2.weight.detach()
    assert not hasattr(model.conv2, "parametrizations")  # what is timed has no mask to apply
    assert torch.equal(weight, torch.where(weight != 0, before, 0))
    group = times.group(by, 5)
    held = al.Sparse(keep=round(al.groups.count(weight.shape, by, group) / 5) or 1, by=by, group=group)
    if by != "filter":
        assert torch.equal(weight, held.project(before))
    assert (group is None) == (by not in al.groups.SIZED)


def test_a_way_wins_from_where_it_never_loses_again():
    def rows(*over):
        return {"rows": [
            {"by": "element", "batch": 1, "threads": 1, "ratio": 2.0**k, "way": "CSR", "over_dense": each}
            for k, each in enumerate(over)
        ]}  # fmt: skip

    assert times.wins_from(rows(2, 0.9, 1.0, 0.8, 0.5), "element", "CSR", 1, 1) == 8
    assert times.wins_from(rows(0.9, 0.8), "element", "CSR", 1, 1) == 1
    assert times.wins_from(rows(0.9, 1.8), "element", "CSR", 1, 1) == float("inf")
    assert times.wins_from(rows(0.9, 0.8), "element", "CSR", 256, 1) == float("inf")
