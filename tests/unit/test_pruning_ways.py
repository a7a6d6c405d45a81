"""Every way to prune: budgets met, peers as they say of themselves."""

import copy
from dataclasses import replace

import pytest
import torch
from unit.protocol import KEEP, WIDTHS

import admm_lib as al
from admm_lib import data, models
from admm_lib.pruning_ways import WAYS, Task


@pytest.fixture(scope="module")
def task():
    images = data.load("digits")
    few = data.Data(images.name, images.train.subset(200), images.val, images.test, images.note)
    dense = models.create("lenet5", 0)
    al.fit(dense, few, 1, lr=2e-3)

    def made(seed=3, by="element"):
        return Task(
            "lenet5", dense, few, KEEP if by == "element" else WIDTHS, seed, 1, (2, 1), 1e-3, 2e-3, 50,
            "32-true", 1, lambda: WAYS["admm"].prune(made(seed, by), 1e-3), by,
        )  # fmt: skip

    return made


@pytest.mark.filterwarnings("ignore:.*KernelPreference.*")  # torchao's own
@pytest.mark.parametrize("name", [name for name, way in WAYS.items() if way.only != "filter"])
def test_every_way_meets_every_budget_and_leaves_the_dense_network_alone(task, name):
    before = copy.deepcopy(task().dense.state_dict())
    pruned = WAYS[name].prune(task(), WAYS[name].values[1])
    assert {each: int(pruned.get_parameter(each).count_nonzero()) for each in KEEP} == KEEP
    assert pruned.state_dict().keys() == before.keys()
    assert all(torch.equal(tensor, before[each]) for each, tensor in task().dense.state_dict().items())


@pytest.mark.filterwarnings("ignore:.*KernelPreference.*")
@pytest.mark.parametrize("name", [name for name, way in WAYS.items() if way.only != "filter"])
def test_every_way_leaves_a_layer_whole_whose_budget_is_all_of_it(task, name):
    keep = {**KEEP, "fc2.weight": 5_000}
    whole = replace(task(), keep=keep)
    pruned = WAYS[name].prune(replace(whole, by_admm=lambda: WAYS["admm"].prune(whole, 1e-3)), 1e-3)
    assert {each: int(pruned.get_parameter(each).count_nonzero()) for each in KEEP} == keep


@pytest.mark.parametrize("name", [name for name, way in WAYS.items() if way.only != "element"])
def test_every_way_by_filters_ends_at_the_widths(task, name):
    before = copy.deepcopy(task().dense.state_dict())
    pruned = WAYS[name].prune(task(by="filter"), WAYS[name].values[1])
    small = al.shrink(pruned)
    assert {each: len(small.get_parameter(each)) for each in WIDTHS} == WIDTHS
    assert small.fc1.in_features == 16 * WIDTHS["conv2.weight"]
    assert all(torch.equal(tensor, before[each]) for each, tensor in task().dense.state_dict().items())


@pytest.mark.parametrize(("name", "by"), [("torch-prune", "element"), ("torch-pruning", "filter")])
def test_a_peer_cuts_before_every_epoch_of_the_first_phase(task, monkeypatch, name, by):
    left, trained = [], Task.train

    def train(self, model, *args, **settings):
        left.append(int(model.fc1.weight.count_nonzero()) if by == "element" else model.fc1.out_features)
        trained(self, model, *args, **settings)

    monkeypatch.setattr(Task, "train", train)
    WAYS[name].prune(task(by=by), 1e-3)
    # 400,000 to 1,500 by one factor, 500 to 30 by one difference
    assert left == ([24_495, 1_500, 1_500] if by == "element" else [265, 30, 30])


@pytest.mark.filterwarnings("ignore:.*KernelPreference.*")  # torchao's own
def test_torchao_computes_with_pruned_weights_in_every_step(task, monkeypatch):
    left, trained = [], Task.train

    def train(self, model, *args, **settings):
        model.fc1.register_forward_pre_hook(
            lambda module, _: left.append(int(module.weight.count_nonzero())) if module.training else None
        )
        trained(self, model, *args, **settings)

    monkeypatch.setattr(Task, "train", train)
    WAYS["torchao"].prune(task(), 1e-3)
    first = left[:8]  # two epochs of four steps
    assert first[0] == 400_000
    assert sorted(first, reverse=True) == first
    assert len(set(first)) > 5
    assert first[-1] < 20_000


def test_more_strength_of_group_norms_leaves_smaller_weights(task):
    weak, strong = (WAYS["group-norms"].prune(task(by="filter"), strength) for strength in (1e-9, 1e-1))
    assert strong.fc1.weight.norm() < 0.9 * weak.fc1.weight.norm()


def test_random_masks_are_drawn_by_the_seed(task):
    first, again, other = (WAYS["random"].prune(task(seed), 1e-3).fc1.weight != 0 for seed in (3, 3, 4))
    assert first.equal(again)
    assert not first.equal(other)


def test_fresh_weights_have_the_mask_of_admm(task):
    pruned, fresh = (WAYS[name].prune(task(), 1e-3) for name in ("admm", "fresh"))
    assert (pruned.fc1.weight != 0).equal(fresh.fc1.weight != 0)
