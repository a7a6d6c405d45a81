"""Each faulty penalty does what the faulty code does, written as one finds it; and rivals that hold masks."""

import pytest
import torch
from torch import nn

import admm_lib as al
from admm_lib.faulty_penalties import KeptGraph, NotRescaled, UnsquaredNorm
from admm_lib.rivals import GradualMagnitude, QuadraticPenalty
from admm_lib.schedules import geometric

RHO = 0.3


def network(*shape, seed=0):
    layer = nn.Linear(*reversed(shape), bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)))
    return nn.Sequential(layer)


def keep(count):
    return {"0.weight": al.Sparse(keep=count)}


def moved(model, seed):
    """Some training between two updates."""
    step = torch.randn(model[0].weight.shape, generator=torch.Generator().manual_seed(seed)) / 4
    with torch.no_grad():
        model[0].weight += step


def added(admm, model):
    model[0].weight.grad = torch.zeros_like(model[0].weight)
    admm.add_penalty_gradient()
    return model[0].weight.grad


def by_autograd(model, penalty):
    return torch.autograd.grad(penalty, model[0].weight)[0]


def test_the_norm_without_its_square_pulls_as_strongly_far_as_near():
    model = network(4, 6)
    admm = UnsquaredNorm(model, keep(5), RHO)
    for seed in range(3):
        W, (Z,), (U,) = model[0].weight, admm.Z["0.weight"], admm.U["0.weight"]
        torch.testing.assert_close(added(admm, model), by_autograd(model, RHO * (W - Z + U).norm()))
        assert added(admm, model).norm().item() == pytest.approx(RHO, rel=1e-5)
        moved(model, seed)
        admm.update()


@pytest.mark.parametrize(
    ("kind", "schedule"),
    [
        (UnsquaredNorm, None),
        (KeptGraph, None),
        (NotRescaled, geometric(1, 8, 3)),
        (QuadraticPenalty, geometric(1, 8, 3)),
    ],
)
def test_the_penalty_in_the_loss_pulls_as_its_gradient_does(kind, schedule):
    model = network(4, 6)
    admm = kind(model, keep(5), RHO, schedule)
    for seed in range(4):
        torch.testing.assert_close(added(admm, model), by_autograd(model, admm.penalty()))
        moved(model, seed)
        admm.update()


def test_where_nothing_is_pruned_the_norm_pulls_nowhere_and_its_square_root_is_nan():
    model = network(2, 3)
    admm = UnsquaredNorm(model, keep(6), RHO)
    W, (Z,) = model[0].weight, admm.Z["0.weight"]
    assert added(admm, model).equal(torch.zeros(2, 3))
    assert by_autograd(model, (W - Z).norm()).equal(torch.zeros(2, 3))
    assert by_autograd(model, (W - Z).square().sum().sqrt()).isnan().all()


def test_a_dual_with_its_graph_pulls_once_more_after_each_update():
    model = network(4, 6)
    admm = KeptGraph(model, keep(5), RHO)
    W, kept = model[0].weight, torch.zeros(4, 6)  # U as the faulty code keeps it
    for seed in range(4):
        penalty = RHO / 2 * (W - admm.Z["0.weight"][0] + kept).square().sum()
        expected = by_autograd(model, penalty)
        torch.testing.assert_close(added(admm, model), expected)
        moved(model, seed)
        admm.update()
        kept = kept.detach() + sum(W - W.detach() for _ in range(seed)) + W - admm.Z["0.weight"][0]
        torch.testing.assert_close(kept.detach(), admm.U["0.weight"][0])


def test_a_dual_that_is_not_rescaled_jumps_with_rho():
    right, wrong = network(4, 6), network(4, 6)
    admms = [
        kind(model, keep(5), RHO, geometric(1, 8, 3))
        for kind, model in ((al.ADMM, right), (NotRescaled, wrong))
    ]
    for model, admm in zip((right, wrong), admms, strict=True):
        moved(model, 1)
        admm.update()
    (first,), (other,) = (admm.U["0.weight"] for admm in admms)
    assert admms[0].rho == admms[1].rho == {"0.weight": pytest.approx(2 * RHO)}
    torch.testing.assert_close(other, 2 * first)
    with pytest.raises(ValueError, match="rho must be a positive number"):
        admms[1].set_rho(0)


def test_without_its_dual_the_penalty_pulls_to_the_projection():
    model = network(4, 6)
    admm = QuadraticPenalty(model, keep(5), RHO, geometric(1, 8, 3))
    for seed in range(3):
        W, (Z,) = model[0].weight, admm.Z["0.weight"]
        rho = admm.rho["0.weight"]
        torch.testing.assert_close(added(admm, model), by_autograd(model, rho / 2 * (W - Z).square().sum()))
        torch.testing.assert_close(admm.penalty(), rho / 2 * (W - Z).square().sum())
        moved(model, seed)
        admm.update()
        assert admm.U["0.weight"][0].equal(torch.zeros(4, 6))
        assert admm.Z["0.weight"][0].equal(al.Sparse(keep=5).project(model[0].weight.detach()))


def test_gradual_pruning_keeps_as_many_as_the_cubic_says_and_none_returns():
    model = network(10, 10)
    pruning, updates = GradualMagnitude(model, keep(7), updates=5), 5
    gone = torch.zeros(10, 10, dtype=torch.bool)
    for update in range(1, updates + 3):
        moved(model, update)
        before = model[0].weight.detach().clone()
        assert not before[gone].any()
        found = pruning.update()["0.weight"]
        after = model[0].weight.detach()
        share = min(update / updates, 1)
        assert after.count_nonzero() == 100 - round(93 * (1 - (1 - share) ** 3))
        cut = before[(after == 0) & ~gone]
        assert cut.numel() == 0 or cut.abs().max() <= after[after != 0].abs().min()
        assert found.primal == pytest.approx((before - after).norm().item(), abs=1e-6)
        gone |= after == 0
    pruning.finalize()
    assert model[0].weight.count_nonzero() == 7
    assert pruning.iteration == updates + 2


def test_gradual_pruning_of_filters_counts_filters():
    model = network(8, 3)
    pruning = GradualMagnitude(model, {"0.weight": al.Sparse(keep=2, by="filter")}, updates=2)
    for left in (8 - round(6 * 7 / 8), 2):
        pruning.update()
        assert model[0].weight.any(1).sum() == left


@pytest.mark.parametrize(
    ("sets", "updates", "message"),
    [
        (keep(3), 0, "gradual pruning takes 1 update or more, not 0"),
        ({"0.weight": al.Levels(2)}, 3, r"0.weight: Levels\(.*\) does not prune; gradual"),
        ({"0.wieght": al.Sparse(keep=2)}, 3, "did you mean '0.weight'"),
    ],
)
def test_gradual_pruning_says_what_it_does_not_take(sets, updates, message):
    with pytest.raises(ValueError, match=message):
        GradualMagnitude(network(3, 3), sets, updates)
