"""The traps of published ADMM-pruning code, one regression test each."""

import pytest
import torch
from torch import nn

import admm_lib as al

X = torch.randn(8, 32, generator=torch.Generator().manual_seed(1))


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(32, 5), nn.ReLU(), nn.Linear(5, 3))


def loss_of(model):
    return (model(X) - 1).square().mean()


def test_the_pull_grows_with_the_distance():
    """An unsquared norm pulls equally hard from everywhere."""
    model = network()
    admm = al.ADMM(model, {"0.weight": al.OneOf((0.0,))}, rho=0.5)
    pulls = []
    for distance in (1.0, 2.0, 4.0):
        model[0].weight.data.fill_(distance)
        model[0].weight.grad = torch.zeros(5, 32)
        admm.add_penalty_gradient()
        pulls.append(model[0].weight.grad.mean().item())
    model[0].weight.data.fill_(2.0)
    assert pulls == pytest.approx([0.5, 1.0, 2.0])
    assert admm.penalty().item() == pytest.approx(0.25 * 160 * 4)


def test_no_nan_where_the_constraint_is_met():
    """A square-rooted penalty has the gradient 0 / 0 at W = Z, U = 0."""
    model = network()
    admm = al.ADMM(model, {"0.weight": al.Sparse(ratio=1)})
    admm.penalty().backward()
    assert bool((model[0].weight.grad == 0).all())
    admm.add_penalty_gradient()
    assert bool((model[0].weight.grad == 0).all())


def test_the_dual_carries_no_graph():
    """With its graph kept, the penalty's gradient grows by the factor 1 + k after k updates."""
    model = network()
    admm = al.ADMM(model, {"0.weight": al.Sparse(keep=1)}, rho=1.0)
    for _ in range(3):
        with torch.no_grad():
            model[0].weight += 0.1
        admm.update()
    Z, U = admm.Z["0.weight"][0], admm.U["0.weight"][0]
    assert not Z.requires_grad
    assert not U.requires_grad
    model.zero_grad()
    admm.penalty().backward()
    torch.testing.assert_close(model[0].weight.grad, (model[0].weight - Z + U).detach())
    admm.add_penalty_gradient()
    assert not model[0].weight.grad.requires_grad


def test_ties_at_the_threshold():
    """A percentile keeps all or none of the weights that tie."""
    model = network()
    model[0].weight.data.fill_(0.3)
    admm = al.ADMM(model, {"0.weight": al.Sparse(keep=7)})
    admm.finalize()
    assert int((model[0].weight != 0).sum()) == 7


def test_the_penalty_does_not_touch_other_layers():
    model = network()
    admm = al.ADMM(model, {"0.weight": al.OneOf((0.0,))})
    loss_of(model).backward()
    before = {name: p.grad.clone() for name, p in model.named_parameters()}
    admm.add_penalty_gradient()
    changed = [n for n, p in model.named_parameters() if not torch.equal(p.grad, before[n])]
    assert changed == ["0.weight"]
