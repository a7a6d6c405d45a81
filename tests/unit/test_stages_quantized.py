"""Stages that quantize, alone, after pruning or together with it."""

import pytest
import torch
from unit.tiny import STEP, TINY, joined, quantized, stepped, trained, written

import admm_lib as al
from admm_lib import data, recipes, stages

LAYERS = ("fc1.weight", "fc2.weight", "fc3.weight")


@pytest.mark.parametrize("method", ["admm", "snap", "incremental", "straight-through"])
@pytest.mark.parametrize(
    "each", [{"set": "clusters", "bits": 2}, {"set": "levels", "bits": 2}, {"set": "binary"}]
)
def test_every_way_of_quantizing_ends_in_few_values(elsewhere, method, each):
    recipe = recipes.read(written(elsewhere, method=method, **quantized(dict.fromkeys(LAYERS, each))))
    (dense, _), *_, (network, origin) = trained(recipe, 0, data.load("digits"))
    total = recipe["admm"]["epochs"] + recipe["retrain"]["epochs"]
    assert len(origin["loss"]) == (recipe["retrain"]["epochs"] if method == "admm" else total)
    for name in LAYERS:
        weight = network.get_parameter(name)
        assert len(weight.unique()) <= 2 ** each.get("bits", 1)
        assert not torch.equal(weight, dense.get_parameter(name))
    assert list((elsewhere / "cache").glob("*.unfinished*")) == []


def test_what_magnitude_has_pruned_it_may_quantize(elsewhere):
    clusters = {"set": "clusters", "bits": 2}
    last = {**{name: STEP[name] for name in STEP if name != "keep"}, "sets": {"fc1.weight": clusters}}
    recipe = recipes.read(written(elsewhere, method="magnitude", **stepped(STEP, last)))
    (dense, _), (pruned, _), (network, _) = trained(recipe, 0, data.load("digits"))
    kept = torch.nonzero(pruned.fc1.weight)
    assert len(kept) == STEP["keep"]["fc1.weight"] < len(torch.nonzero(dense.fc1.weight))
    assert torch.equal(torch.nonzero(network.fc1.weight), kept)
    assert len(network.fc1.weight.unique()) <= 5  # zero is one of them
    assert torch.equal(network.fc2.weight == 0, pruned.fc2.weight == 0)


def test_layers_quantized_in_one_step_keep_their_signs_in_the_next(elsewhere):
    binary = {"set": "binary"}
    first = {**STEP, "sets": {"fc2.weight": binary}}
    last = {**STEP, "sets": {"fc1.weight": binary, "fc3.weight": binary}}
    both = [{name: step[name] for name in step if name != "keep"} for step in (first, last)]
    recipe = recipes.read(written(elsewhere, **stepped(*both)))
    _, _, (between, _), _, (network, _) = trained(recipe, 0, data.load("digits"))
    assert len(between.fc1.weight.unique()) > 1000
    for name in LAYERS:
        assert len(network.get_parameter(name).abs().unique()) == 1
    assert torch.equal(network.fc2.weight.sign(), between.fc2.weight.sign())
    assert not torch.equal(network.fc2.weight, between.fc2.weight)  # its magnitude goes on training


def test_pruned_then_clustered_keeps_both(elsewhere):
    clusters = {name: {"set": "clusters", "bits": 2} for name in LAYERS}
    last = {"sets": clusters, "admm": STEP["admm"], "retrain": STEP["retrain"]}
    recipe = recipes.read(written(elsewhere, **stepped(STEP, last)))
    *_, (network, _) = trained(recipe, 0, data.load("digits"))
    for name in LAYERS:
        weight = network.get_parameter(name)
        assert int(weight.count_nonzero()) == STEP["keep"][name]
        assert len(weight[weight != 0].unique()) <= 4


@pytest.mark.parametrize("finish", [None, "straight-through"])
@pytest.mark.parametrize("joint", ["intersection", "pairs"])
def test_a_joint_step_prunes_and_quantizes_also_when_shrunk(elsewhere, joint, finish):
    narrow = {**STEP, "keep": {"fc1.weight": 30, "fc2.weight": 20}, "by": "filter"}
    both = {**STEP, **joined(joint)}
    both["sets"] = both["sets"] | {
        "fc1.bias": {"set": "levels", "bits": 3},
        "fc3.bias": {"set": "binary"},  # which takes up what dead units give
    }
    both |= {name: {**STEP[name], "shrink": True} for name in ("admm", "retrain")}
    recipe = recipes.read(written(elsewhere, **stepped(narrow, both), finish=finish))
    *_, (network, _) = trained(recipe, 0, data.load("digits"))
    assert len(network.fc1.bias[network.fc1.bias != 0].unique()) <= 8
    assert len(network.fc3.bias.abs().unique()) == 1
    for name in LAYERS:
        weight = network.get_parameter(name)
        assert 0 < int(weight.count_nonzero()) <= STEP["keep"][name]
        assert len(weight[weight != 0].unique()) <= 4


@pytest.mark.parametrize("few", [{"set": "clusters", "bits": 2}, {"set": "binary"}])
def test_a_joint_step_leaves_layers_alone_that_were_quantized_before(elsewhere, few):
    first = {"sets": {"fc1.weight": few}, "admm": STEP["admm"], "retrain": STEP["retrain"]}
    last = {**STEP, "keep": {"fc2.weight": 900}, "sets": {"fc2.weight": {"set": "levels", "bits": 2}}}
    steps = stepped(first, {**last, "joint": "intersection"})
    recipe = recipes.read(written(elsewhere, **steps, finish="straight-through"))
    *_, (network, _) = trained(recipe, 0, data.load("digits"))
    assert len(network.fc1.weight.unique()) <= 4
    assert int(network.fc2.weight.count_nonzero()) <= 900
    assert len(network.fc2.weight.unique()) <= 5


def test_quantized_first_and_pruned_then_it_ends_with_both(elsewhere):
    few = joined("pruning")
    first = {"sets": few["sets"], "admm": STEP["admm"], "retrain": STEP["retrain"]}
    steps = stepped(first, {**STEP, **few})
    recipe = recipes.read(written(elsewhere, **steps, finish="straight-through"))
    _, _, (before, _), (between, _), (network, _) = trained(recipe, 0, data.load("digits"))
    for name in LAYERS:
        assert len(before.get_parameter(name).unique()) == 4
        pruned, weight = between.get_parameter(name), network.get_parameter(name)
        assert int(pruned.count_nonzero()) == STEP["keep"][name]
        assert len(pruned.unique()) > 5  # pruned, and on no levels yet
        assert torch.equal(pruned != 0, weight != 0)
        assert len(weight.unique()) <= 5


def test_a_killed_incremental_run_ends_as_one_that_was_not(elsewhere, monkeypatch):
    recipe = recipes.read(
        written(elsewhere, method="incremental", **quantized({"fc1.weight": {"set": "levels", "bits": 2}}))
    )
    whole = trained(recipe, 0, data.load("digits"), home=elsewhere / "whole")[-1]
    calls, fit = [], stages.fit

    def dies(*args, **kwargs):
        calls.append(kwargs)
        if len(calls) == 4:  # the dense network and two of four shares are done
            raise KeyboardInterrupt
        return fit(*args, **kwargs)

    monkeypatch.setattr(stages, "fit", dies)
    with pytest.raises(KeyboardInterrupt):
        trained(recipe, 0, data.load("digits"), home=elsewhere / "killed")
    monkeypatch.setattr(stages, "fit", fit)
    again = trained(recipe, 0, data.load("digits"), home=elsewhere / "killed")[-1]
    assert torch.equal(again[0].fc1.weight, whole[0].fc1.weight)
    assert again[1]["loss"] == whole[1]["loss"]


def test_methods_see_the_same_batches_in_the_same_order(elsewhere, monkeypatch):
    """ADMM's epochs and its retraining's are shuffled as those of the rival, which has one stage."""
    seen = {}
    for method in ("admm", "magnitude"):
        orders = []
        real = data.Split.batches

        def batches(split, size, generator=None, augment=None, orders=orders, real=real):
            if generator is not None:
                orders.append(generator.initial_seed())
            return real(split, size, generator, augment)

        with monkeypatch.context() as patch:
            patch.setattr(data.Split, "batches", batches)
            trained({**TINY, "method": method}, 107, al.data.load("digits"), home=elsewhere / method)
        seen[method] = orders
    assert seen["admm"] == seen["magnitude"] == list(range(107_001, 107_007))
