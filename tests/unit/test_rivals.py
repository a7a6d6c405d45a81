"""Hard thresholding; quantizing a share at a time, and the straight-through estimator."""

import contextlib
import copy
import math

import pytest
import torch
from torch import nn

import admm_lib as al
from admm_lib import rivals


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 10), nn.ReLU(), nn.Linear(10, 3))


BATCHES = [(torch.randn(40, 12, generator=torch.Generator().manual_seed(1)), torch.arange(40) % 3)]


def test_the_nearest_share_of_each_level_is_frozen(model):
    free = model[0].weight.detach().clone()
    target = al.Levels(2).project(free)
    rivals.freeze_nearest(model, {"0.weight": al.Levels(2)}, 0.3)
    shown = model[0].weight.detach()
    frozen = model[0].parametrizations.weight[0].frozen
    assert torch.equal(shown[frozen], target[frozen])
    assert torch.equal(shown[~frozen], free[~frozen])
    for level in target.unique():
        mine = target == level
        assert int((frozen & mine).sum()) == math.ceil(0.3 * int(mine.sum()))
        distance = (free - target).abs()
        assert distance[mine & frozen].max() <= distance[mine & ~frozen].min()


def test_shares_grow_until_the_layer_is_quantized(model):
    sets = {"0.weight": al.Clusters(2)}
    levels, shown, before = None, model[0].weight.detach(), torch.zeros(10, 12, dtype=torch.bool)
    for share in (0.3, 0.6, 0.9, 1):
        rivals.freeze_nearest(model, sets, share)
        held = model[0].parametrizations.weight[0]
        assert levels is None or torch.equal(held.levels, levels)
        assert torch.equal(model[0].weight[before], shown[before])  # once frozen, always frozen
        al.fit(model, BATCHES, 2, lr=0.01)
        levels, before, shown = held.levels, held.frozen, model[0].weight.detach().clone()
    assert bool(held.frozen.all())
    assert set(model[0].weight.unique().tolist()) <= set(levels.tolist())
    assert len(levels) == 4


def test_the_share_is_of_all_weights_of_a_level(model):
    target = al.Levels(2).project(model[0].weight.detach())
    for share in (0.25, 0.7):
        rivals.freeze_nearest(model, {"0.weight": al.Levels(2)}, share)
    frozen = model[0].parametrizations.weight[0].frozen
    for level in target.unique():
        mine = target == level
        assert int((frozen & mine).sum()) == math.ceil(0.7 * int(mine.sum()))


def test_convolutions_in_any_layout_and_empty_layers():
    network = al.models.create("lenet5", seed=0)
    with torch.no_grad():
        network.fc2.weight.zero_()
    names = [f"{layer}.weight" for layer in ("conv1", "conv2", "fc2")]
    twin = copy.deepcopy(network)
    for share in (0.3, 1):
        rivals.freeze_nearest(network, dict.fromkeys(names, al.Levels(2)), share)
    rivals.straight_through(twin, dict.fromkeys(names, al.Levels(2)), every=1)
    twin(torch.randn(2, 1, 28, 28))
    for each in (network, twin):
        assert len(each.conv2.weight.unique()) == 4
        assert not each.fc2.weight.any()


def test_nothing_is_held_where_something_is_wrong(model):
    for sets, message in (
        ({"0.weight": al.Binary(), "nope": al.Binary()}, "no weight 'nope'"),
        ({"0.weight": al.Binary(), "2.weight": al.Levels(2, per="channel")}, "one set of levels"),
        ({"0.weight": al.Both(al.Sparse(5), al.Levels(2))}, "prunes: prune first"),
        ({"0.weight": al.Sparse(5)}, "prunes: prune first"),
    ):
        with pytest.raises(ValueError, match=message):
            rivals.straight_through(model, sets)
        with pytest.raises(ValueError, match=message):
            rivals.freeze_nearest(model, sets, 0.5)
        assert not hasattr(model[0], "parametrizations")


@pytest.mark.parametrize("every", [3, 100])
def test_a_killed_run_goes_on_to_the_same_end(model, every, tmp_path):
    """Levels are found anew in the middle of epochs, and may become more or fewer."""
    loader = [(torch.randn(8, 12), torch.arange(8) % 3) for _ in range(5)]

    def trained(killed_in):
        network = copy.deepcopy(model)
        rivals.straight_through(network, {"0.weight": al.Levels(5)}, every)

        def die(epoch):
            if epoch.number == killed_in:
                raise KeyboardInterrupt

        al.fit(network, loader, 4, lr=0.1, resume=tmp_path / f"{every}-{killed_in > 0}", progress=die)
        return network

    whole = trained(0)
    with pytest.raises(KeyboardInterrupt):
        trained(3)
    assert torch.equal(trained(9)[0].weight, whole[0].weight)


def test_zeros_stay_zero_and_count_as_frozen(model):
    with torch.no_grad():
        model[0].weight[:5] = 0
    for share in (0.5, 1):
        rivals.freeze_nearest(model, {"0.weight": al.Binary()}, share)
        al.fit(model, BATCHES, 1, lr=0.01)
        assert bool((model[0].weight[:5] == 0).all())
    assert len(model[0].weight[5:].abs().unique()) == 1


@pytest.mark.parametrize("share", [0, -1, 1.1, float("nan")])
def test_a_share_is_a_fraction(model, share):
    with pytest.raises(ValueError, match="share is a fraction"):
        rivals.freeze_nearest(model, {"0.weight": al.Binary()}, share)


def test_the_gradient_goes_straight_through(model):
    twin = copy.deepcopy(model)
    rivals.straight_through(model, {"0.weight": al.Levels(2)})
    shown = model[0].weight.detach().clone()
    assert torch.equal(shown, al.Levels(2).project(twin[0].weight.detach()))
    with torch.no_grad():
        free = twin[0].weight.clone()
        twin[0].weight.copy_(shown)
    for network in (model, twin):
        nn.functional.cross_entropy(network(BATCHES[0][0]), BATCHES[0][1]).backward()
    held = model[0].parametrizations.weight
    assert torch.equal(held.original, free)
    assert torch.allclose(held.original.grad, twin[0].weight.grad)


def test_the_values_are_found_anew_now_and_then(model):
    rivals.straight_through(model, {"0.weight": al.Levels(2), "2.weight": al.Binary()}, every=5)
    first = model[0].parametrizations.weight[0].levels
    al.fit(model, BATCHES, 4, lr=0.05)
    assert torch.equal(model[0].parametrizations.weight[0].levels, first)
    al.fit(model, BATCHES, 4, lr=0.05)
    assert not torch.equal(model[0].parametrizations.weight[0].levels, first)
    model.eval()
    shown = model[0].weight.detach()
    al.bake(model)
    assert torch.equal(model[0].weight, shown)
    assert len(model[0].weight.abs().unique()) <= 2
    assert len(model[2].weight.abs().unique()) == 1


def test_pruned_weights_stay_pruned_straight_through(model):
    with torch.no_grad():
        model[0].weight[:, ::2] = 0
    rivals.straight_through(model, {"0.weight": al.Clusters(2)}, every=2)
    al.fit(model, BATCHES, 5, lr=0.05)
    assert bool((model[0].weight[:, ::2] == 0).all())
    assert len(model[0].weight.unique()) <= 5


def test_the_levels_of_straight_through_move_with_the_network(model):
    rivals.straight_through(model, {"0.weight": al.Levels(2)})
    held = model[0].parametrizations.weight[0]
    assert "parametrizations.weight.0.levels" not in model[0].state_dict()  # there are not always as many
    assert not held.levels.is_meta
    model.to("meta")
    assert held.levels.is_meta


@pytest.mark.parametrize(
    "each", [al.Sparse(keep=30), al.Sparse(keep=4, by="filter"), al.LowRank(2), al.Levels(2)]
)
def test_hard_thresholding_projects_at_each_update_and_pulls_at_nothing(model, each):
    hard = rivals.HardThresholding(model, {"0.weight": each})
    free = model[0].weight.detach().clone()
    nn.functional.cross_entropy(model(BATCHES[0][0]), BATCHES[0][1]).backward()
    gradient = model[0].weight.grad.clone()
    hard.add_penalty_gradient()
    assert torch.equal(model[0].weight.grad, gradient)
    assert torch.equal(model[0].weight, free)  # nothing before the first update
    residuals = hard.update()["0.weight"]
    assert torch.equal(model[0].weight, each.project(free))
    assert residuals.primal == pytest.approx((free - each.project(free)).norm().item(), rel=1e-5)
    assert (residuals.dual, residuals.norm) == (0, pytest.approx(free.norm().item()))
    assert (hard.iteration, len(hard.history)) == (1, 1)


def test_hard_thresholding_trains_through_fit_and_is_held_in_the_end(model):
    each = al.Sparse(keep=20)
    hard = rivals.HardThresholding(model, {"0.weight": each})
    al.fit(model, BATCHES, 7, lr=0.05, admm=hard)
    assert hard.iteration == 7
    shown = model[0].weight.detach().clone()
    assert torch.equal(each.project(shown), shown)
    hard.finalize()
    al.fit(model, BATCHES, 2, lr=0.05)
    assert torch.equal(model[0].weight != 0, shown != 0)
    assert not torch.equal(model[0].weight, shown)
    for late in (hard.update, hard.add_penalty_gradient):
        with pytest.raises(RuntimeError, match="finalized"):
            late()


def test_a_killed_hard_thresholding_ends_as_one_that_was_not(tmp_path):
    def run(epochs, file):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(12, 10), nn.ReLU(), nn.Linear(10, 3))
        hard = rivals.HardThresholding(network, {"0.weight": al.Sparse(keep=20)})
        stop = None if epochs == 6 else Killed(epochs)
        with contextlib.suppress(KeyboardInterrupt):
            al.fit(network, BATCHES, 6, lr=0.05, admm=hard, resume=file, progress=stop or False)
        return network[0].weight.detach().clone()

    class Killed:
        def __init__(self, after):
            self.after = after

        def __call__(self, epoch):
            if epoch.number == self.after:
                raise KeyboardInterrupt

    whole = run(6, tmp_path / "whole")
    run(4, tmp_path / "killed")
    assert torch.equal(run(6, tmp_path / "killed"), whole)
