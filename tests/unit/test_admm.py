"""ADMM against autograd, closed forms and residuals worked out by hand."""

from collections import OrderedDict
from itertools import product

import pytest
import torch
from torch import nn

import admm_lib as al
from admm_lib.holding import mask_of, original
from admm_lib.names import resolve, weight_names
from admm_lib.schedules import geometric

A, B, C = "conv.weight", "fc1.weight", "fc2.weight"
LEVELS = al.OneOf((-0.2, 0.0, 0.2))


def network(seed=0):
    """Three layers of 27, 80 and 15 weights; the first is stored channels_last."""
    torch.manual_seed(seed)
    layers = OrderedDict(
        conv=nn.Conv2d(3, 1, 3), act=nn.ReLU(), flat=nn.Flatten(),
        fc1=nn.Linear(16, 5), fc2=nn.Linear(5, 3),
    )  # fmt: skip
    return nn.Sequential(layers).to(memory_format=torch.channels_last)


def loss_of(model):
    x = torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    return model(x).square().mean()


def one_layer(*values, dtype=torch.float64):
    """A model whose only weight is the given vector."""
    model = nn.Linear(len(values), 1, bias=False, dtype=dtype)
    model.weight.data = torch.tensor([values], dtype=dtype)
    return model


def put(model, *values):
    model.weight.data.copy_(torch.tensor([values], dtype=model.weight.dtype))


def gradients(model):
    return [p.grad.clone() for p in model.parameters()]


CASES = {
    "one layer": ({B: al.Sparse(keep=20)}, 0.1),
    "rho per layer": (
        {A: al.Sparse(keep=5), B: LEVELS, C: al.Sparse(ratio=3)},
        {A: 0.1, B: 2.0, C: 7.0},
    ),
    "one budget over two": ({(A, C): al.Sparse(keep=9), B: al.Sparse(keep=9)}, 0.3),
    "two sets for one layer": ({B: [al.Sparse(keep=20), LEVELS], A: [LEVELS]}, 0.3),
    "a set and a shared budget": ({A: al.Sparse(keep=9), (B, A): al.Sparse(keep=19)}, 0.3),
}


@pytest.mark.parametrize(("constraints", "rho"), CASES.values(), ids=CASES.keys())
def test_the_fused_gradient_is_autograds(constraints, rho):
    model = network()
    admm = al.ADMM(model, constraints, rho=rho)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for step in range(6):
        model.zero_grad()
        (loss_of(model) + admm.penalty()).backward()
        expected = gradients(model)
        model.zero_grad()
        loss_of(model).backward()
        admm.add_penalty_gradient()
        torch.testing.assert_close(gradients(model), expected, atol=1e-6, rtol=1e-5)
        optimizer.step()
        admm.update()
        if step == 3:
            admm.set_rho(0.7)


def test_the_penalty_is_the_sum_over_pairs():
    model = one_layer(3.0, 1.0)
    admm = al.ADMM(model, {"weight": [al.Sparse(keep=1), al.OneOf((0.0, 2.0))]}, rho=0.5)
    put(model, 4.0, 3.0)  # Z is (3, 0) and (2, 0), for 1 lies halfway; U = 0
    assert admm.penalty().item() == pytest.approx(0.25 * ((1 + 9) + (4 + 9)))


@pytest.mark.parametrize("schedule", [None, geometric(1, 100, 3)])
def test_the_unscaled_dual_survives_a_change_of_rho(schedule):
    model = network()
    admm = al.ADMM(model, {B: al.Sparse(keep=9), (A, C): al.Sparse(keep=9)}, 0.1, schedule=schedule)
    layers = {B: [B], (A, C): [A, C]}
    duals = dict.fromkeys(layers, 0)  # kept here, unscaled: Y <- Y + rho (W - Z)
    for seed in range(5):
        model.load_state_dict(network(seed).state_dict())
        rho = admm.rho
        residuals = admm.update()
        for key, names in layers.items():
            W = torch.cat([original(*resolve(model, name)).flatten() for name in names])
            duals[key] = duals[key] + rho[key] * (W - admm.Z[key][0].flatten()).detach()
            torch.testing.assert_close(admm.rho[key] * admm.U[key][0].flatten(), duals[key])
            assert residuals[key].rho == rho[key]
        if schedule is None:
            admm.set_rho(0.3 * (seed + 1))
    assert admm.rho[B] == pytest.approx(1.5 if schedule is None else 10)


def test_a_schedule_goes_on_from_a_rho_set_by_hand():
    admm = al.ADMM(network(), {A: LEVELS, B: LEVELS}, {A: 1.0, B: 2.0}, schedule=geometric(1, 8, 3))
    admm.update()
    admm.set_rho(0.5)
    assert admm.rho == {A: 0.5, B: 0.5}
    admm.update()
    assert admm.rho == {A: pytest.approx(0.5 * 4), B: pytest.approx(0.5 * 4)}


def test_a_schedule_gives_the_factor_after_each_update():
    schedule = geometric(0.1, 10, 2)
    admm = al.ADMM(network(), {A: LEVELS, B: LEVELS}, {A: 1.0, B: 2.0}, schedule=schedule)
    seen = [admm.rho]
    for _ in range(3):
        admm.update()
        seen.append(admm.rho)
    assert [each[A] for each in seen] == pytest.approx([0.1, 1, 10, 10])
    assert [each[B] for each in seen] == pytest.approx([0.2, 2, 20, 20])
    assert [each[A].rho for each in admm.history] == pytest.approx([0.1, 1, 10])


def test_residuals_by_hand():
    model = one_layer(3.0, 1.0)
    admm = al.ADMM(model, {"weight": al.Sparse(keep=1)}, rho=0.5)
    assert admm.Z["weight"][0].tolist() == [[3, 0]]
    put(model, 2.0, 2.5)
    first = admm.update()["weight"]
    assert first == pytest.approx((2.0, 0.5 * (9 + 6.25) ** 0.5, (4 + 6.25) ** 0.5, 0.5))
    assert admm.Z["weight"][0].tolist() == [[0, 2.5]]
    assert admm.U["weight"][0].tolist() == [[2, 0]]
    put(model, 1.0, 2.0)  # W + U = (3, 2)
    second = admm.update()["weight"]
    assert second == pytest.approx((8**0.5, 0.5 * (9 + 6.25) ** 0.5, 5**0.5, 0.5))
    assert admm.U["weight"][0].tolist() == [[0, 2]]
    assert admm.history == [{"weight": first}, {"weight": second}]
    assert admm.iteration == 2


def test_residuals_of_several_sets_are_the_worse_ones():
    model = one_layer(3.0, 1.0)
    admm = al.ADMM(model, {"weight": [al.Sparse(keep=2), al.Sparse(keep=1)]})
    assert admm.update()["weight"].primal == 1


@pytest.mark.parametrize(
    ("start", "then", "factor"),
    [
        ((5.0, 4.0), (5.0, 4.0), 2),  # Z stays: only the primal residual, 4, is there
        ((5.0, 0.0), (9.0, 0.0), 0.5),  # W = Z: only the dual residual is there
        ((5.0, 1.0), (6.0, 1.0), 1),  # 1 and 1
        ((5.0, 0.0), (5.0, 0.0), 1),  # converged: 0 and 0
    ],
)
def test_residual_balancing(start, then, factor):
    model = one_layer(*start)
    admm = al.ADMM(model, {"weight": al.Sparse(keep=1)}, rho=1.0, balance=10)
    put(model, *then)
    admm.update()
    assert admm.rho["weight"] == factor
    gap = torch.tensor([[0.0, then[1]]], dtype=torch.float64)
    assert torch.equal(admm.rho["weight"] * admm.U["weight"][0], gap)


def test_balancing_moves_each_layer_on_its_own():
    model = network()
    admm = al.ADMM(model, {A: al.Sparse(keep=27), C: al.Sparse(keep=1)}, rho=1.0, balance=2)
    original(*resolve(model, A)).data.mul_(2)
    admm.update()
    assert admm.rho == {A: 0.5, C: 2.0}


class Box:
    """A convex set to test with: every weight between 0 and 1."""

    def check(self, numel, name):
        pass

    def project(self, weight):
        return weight.clamp(0, 1)

    def hold(self, weight):
        raise NotImplementedError


def iterate(model, admm, hessian, optimum, updates):
    """ADMM on f(w) = 1/2 (w - a)' H (w - a), each W-step solved exactly."""
    for _ in range(updates):
        rho, Z, U = admm.rho["weight"], admm.Z["weight"][0][0], admm.U["weight"][0][0]
        matrix = hessian + rho * torch.eye(len(optimum), dtype=torch.float64)
        put(model, *torch.linalg.solve(matrix, hessian @ optimum + rho * (Z - U)).tolist())
        admm.update()


HESSIAN = torch.tensor([[2.0, 0.8, 0.3], [0.8, 1.5, -0.6], [0.3, -0.6, 1.0]], dtype=torch.float64)


def smallest_in_the_box(a):
    """argmin of (w - a)' H (w - a) over the box: each face solved exactly, the best one taken."""
    found = []
    for face in product([0.0, 1.0, None], repeat=3):
        fixed = [i for i in range(3) if face[i] is not None]
        free = [i for i in range(3) if face[i] is None]
        w = torch.tensor([0.0 if edge is None else edge for edge in face], dtype=torch.float64)
        right = -HESSIAN[free][:, fixed] @ (w - a)[fixed]
        w[free] = a[free] + torch.linalg.solve(HESSIAN[free][:, free], right)
        if bool(((w >= 0) & (w <= 1)).all()):
            found.append((((w - a) @ HESSIAN @ (w - a)).item(), w))
    return min(found, key=lambda pair: pair[0])[1]


@pytest.mark.parametrize(
    "how",
    [{}, {"balance": 10}, {"schedule": geometric(0.1, 10, 50)}],
    ids=["constant", "balance", "schedule"],
)
@pytest.mark.parametrize("optimum", [(0.5, -0.7, 1.8), (2.0, 3.0, -1.0), (0.2, 0.4, 0.6)])
def test_a_convex_problem_ends_at_its_known_minimiser(optimum, how):
    a = torch.tensor(optimum, dtype=torch.float64)
    where = smallest_in_the_box(a)
    model = one_layer(0.0, 0.0, 0.0)
    admm = al.ADMM(model, {"weight": Box()}, rho=1.0, **how)
    iterate(model, admm, HESSIAN, a, 300)
    torch.testing.assert_close(admm.Z["weight"][0][0], where, atol=1e-6, rtol=0)
    torch.testing.assert_close(model.weight[0].detach(), where, atol=1e-6, rtol=0)
    assert admm.history[-1]["weight"].primal < 1e-6


@pytest.mark.parametrize("constraint", [al.Sparse(keep=2), al.OneOf((-1.0, 0.0, 1.0))], ids=str)
def test_with_the_identity_as_hessian_admm_ends_at_the_projection(constraint):
    a = torch.tensor([0.9, -2.0, 0.3, 1.4, -1.1], dtype=torch.float64)
    model = one_layer(*a.tolist())
    admm = al.ADMM(model, {"weight": constraint}, rho=2.0)
    iterate(model, admm, torch.eye(5, dtype=torch.float64), a, 100)
    nearest = constraint.project(a)
    torch.testing.assert_close(model.weight[0].detach(), nearest, atol=1e-8, rtol=0)
    admm.finalize()
    torch.testing.assert_close(model.weight[0].detach(), nearest, atol=1e-8, rtol=0)


@pytest.mark.parametrize("cost", [1.0, 4.0])
def test_a_shared_budget_goes_to_the_larger_weights(cost):
    model = network()
    original(*resolve(model, C)).data.mul_(cost * 10)
    admm = al.ADMM(model, {(A, C): al.Sparse(keep=10)})
    joined = torch.cat([original(*resolve(model, n)).detach().flatten() for n in (A, C)])
    assert torch.equal(admm.Z[A, C][0], al.Sparse(keep=10).project(joined))
    admm.finalize()
    masks = [mask_of(*resolve(model, n)) for n in (A, C)]
    assert sum(int(mask.sum()) for mask in masks) == 10
    assert torch.equal(torch.cat([mask.flatten() for mask in masks]), admm.Z[A, C][0] != 0)


def test_names_are_those_of_the_plain_network():
    model = network()
    names = [name for name, _ in model.named_parameters()]
    assert weight_names(model) == names
    al.ADMM(model, {A: LEVELS, B: al.Sparse(keep=3)}).finalize()
    assert sorted(weight_names(model)) == sorted(names)
    assert resolve(model, B) == (model.fc1, "weight")
    assert resolve(model.fc1, "weight") == (model.fc1, "weight")


def test_geometric():
    factor = geometric(0.01, 1, 4)
    assert [factor(t) for t in range(6)] == pytest.approx([0.01, 0.01**0.75, 0.1, 0.01**0.25, 1, 1])
    for wrong in ((0, 1, 4), (1, 0, 4), (1, 1, 0)):
        with pytest.raises(ValueError, match="geometric needs start, end > 0 and updates >= 1"):
            geometric(*wrong)


@pytest.mark.parametrize("in_place", [False, True])
def test_a_set_may_give_back_what_it_was_given(in_place):
    """A ball whose inside stays as it is: Z is the weights then, and U what was disagreed on before."""

    class Ball:
        def check(self, shape, name):
            pass

        def project(self, weight):
            return weight.clamp_(-9, 9) if in_place else weight

        def hold(self, weight):
            return nn.Identity()

    model = nn.Linear(3, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 2.0, 3.0]]))
    admm = al.ADMM(model, {"weight": Ball()})
    assert admm.update()["weight"].primal == 0
    assert admm.Z["weight"][0].tolist() == [[1.0, 2.0, 3.0]]
    assert admm.U["weight"][0].tolist() == [[0.0, 0.0, 0.0]]
    assert model.weight.tolist() == [[1.0, 2.0, 3.0]]
