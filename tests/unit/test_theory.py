"""The small problems of notebook 01 against independent answers, and its figures by their data."""

import itertools

import pytest
import torch

import admm_lib as al
from admm_lib import toy
from admm_lib.figures import theory as figures

CENTRE = figures.TWO_WEIGHTS.centre
SETS = [figures.ONE_NONZERO, figures.FOUR_LEVELS]
each_set = pytest.mark.parametrize("constraint", SETS, ids=["sparse", "levels"])


def rows(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def many(count=6, size=4):
    return toy.random_quadratics(count, size, torch.Generator().manual_seed(1))


@pytest.mark.parametrize("rho", [0.01, 1.0, 50.0])
@pytest.mark.parametrize(
    ("problem", "target"),
    [(toy.Kinked(), rows(40, 1)), (figures.TWO_WEIGHTS, rows(40, 2)), (many(), rows(6, 4))],
    ids=["kinked", "one quadratic", "a batch of them"],
)
def test_the_w_step_is_where_loss_and_spring_balance(problem, target, rho):
    W = problem.w_step(target, rho)
    assert (problem.gradient(W) + rho * (W - target)).abs().max() < 1e-12 * max(1, rho)


@pytest.mark.parametrize("problem", [toy.Kinked(), figures.TWO_WEIGHTS], ids=["kinked", "quadratic"])
def test_gradients_are_those_of_the_loss(problem):
    W = rows(30, 1 if isinstance(problem, toy.Kinked) else 2).requires_grad_()
    (gradient,) = torch.autograd.grad(problem.loss(W).sum(), W)
    torch.testing.assert_close(problem.gradient(W.detach()), gradient)


@pytest.mark.parametrize(
    "constraint",
    [al.Sparse(keep=0), al.Sparse(keep=2), al.Sparse(ratio=1), al.Sparse(ratio=3), figures.FOUR_LEVELS],
)
def test_a_batch_is_projected_row_by_row(constraint):
    tied = torch.tensor([[1, -1, 1, 0], [0, 0, 0, 0], [2, 1, -1, -2]], dtype=torch.float64)
    batch = torch.cat([rows(20, 4), tied])
    quarters = (4 * rows(20, 400)).round() / 4  # long rows, most of them ties
    for each in (batch, quarters):
        expected = torch.stack([constraint.project(row) for row in each])
        assert torch.equal(toy.project(constraint, each), expected)


@each_set
@pytest.mark.parametrize("rho", [0.2, 0.6, 5.0])
def test_the_loop_is_the_librarys(constraint, rho):
    path = toy.admm(figures.TWO_WEIGHTS, constraint, rho, CENTRE, 15)
    layer = torch.nn.Module()
    layer.weight = torch.nn.Parameter(CENTRE.clone())
    admm = al.ADMM(layer, {"weight": constraint}, rho=rho)
    for k in range(1, 16):
        target = admm.Z["weight"][0] - admm.U["weight"][0]
        layer.weight.data = torch.linalg.solve(
            figures.TWO_WEIGHTS.H + rho * torch.eye(2, dtype=torch.float64),
            figures.TWO_WEIGHTS.H @ CENTRE + rho * target,
        )
        residuals = admm.update()["weight"]
        torch.testing.assert_close(path.W[k], layer.weight.data)
        torch.testing.assert_close(path.Z[k], admm.Z["weight"][0])
        torch.testing.assert_close(path.U[k], admm.U["weight"][0])
        assert path.primal[k - 1].item() == pytest.approx(residuals.primal, abs=1e-12)
        assert path.dual[k - 1].item() == pytest.approx(residuals.dual, abs=1e-12)


def test_a_rising_rho_keeps_the_unscaled_dual():
    rhos = [0.1 * 1.2**k for k in range(30)]
    path = toy.admm(many(), al.Sparse(keep=2), rhos, rows(6, 4), 30)
    unscaled = path.U[1:] * torch.tensor(rhos, dtype=torch.float64).reshape(-1, 1, 1)
    gaps = (path.W - path.Z)[1:] * torch.tensor(rhos, dtype=torch.float64).reshape(-1, 1, 1)
    torch.testing.assert_close(unscaled, gaps.cumsum(0))
    constant = toy.admm(many(), al.Sparse(keep=2), 0.7, rows(6, 4), 30)
    torch.testing.assert_close(constant.U[-1], (constant.W - constant.Z)[1:].sum(0))


def test_the_best_point_against_a_search_written_another_way():
    problem, keep = many(), 2
    best = problem.loss(toy.optimum(problem, al.Sparse(keep=keep)))
    for n in range(6):
        H, c = problem.H[n], problem.centre[n]
        losses = []
        for inside in itertools.combinations(range(4), keep):
            outside = [i for i in range(4) if i not in inside]
            # Over the free weights the loss is lowest at the Schur complement of H.
            A, B = H[outside][:, outside], H[outside][:, list(inside)]
            left = A - B @ torch.linalg.solve(H[list(inside)][:, list(inside)], B.T)
            losses.append((c[outside] @ left @ c[outside] / 2).item())
        assert best[n].item() == pytest.approx(min(losses))
    grid = itertools.product((-1.5, -0.5, 0.5, 1.5), repeat=2)
    losses = {p: figures.TWO_WEIGHTS.loss(torch.tensor(p, dtype=torch.float64)).item() for p in grid}
    found = toy.optimum(figures.TWO_WEIGHTS, figures.FOUR_LEVELS)
    assert tuple(found.tolist()) == min(losses, key=losses.get)
    with pytest.raises(TypeError, match="no exhaustive search"):
        toy.optimum(figures.TWO_WEIGHTS, None)


def test_a_refit_is_best_inside_its_mask():
    problem, mask = many(), torch.tensor([True, False, True, False]).expand(6, 4)
    W = problem.refit(mask)
    assert (W[~mask] == 0).all()
    assert problem.gradient(W)[mask].abs().max() < 1e-12


@each_set
def test_projected_gradient_never_rises(constraint):
    steps = toy.projected_gradient(figures.TWO_WEIGHTS, constraint, rows(30, 2), 40)
    loss = figures.TWO_WEIGHTS.loss(steps)
    assert (loss[1:] <= loss[:-1] + 1e-12).all()


@each_set
@pytest.mark.parametrize("rho", [0.3, 0.6, 2.0, 6.0, 12.0])
def test_a_point_that_holds_stays_and_no_other(constraint, rho):
    points = toy.candidates(figures.TWO_WEIGHTS, constraint)
    U = -figures.TWO_WEIGHTS.gradient(points) / rho
    W = figures.TWO_WEIGHTS.w_step(points - U, rho)
    torch.testing.assert_close(W, points)  # this U makes the W-step rest, and only the Z-step decides
    stays = (toy.project(constraint, W + U) - points).abs().amax(-1) < 1e-9
    assert torch.equal(toy.holds(figures.TWO_WEIGHTS, constraint, points, rho), stays)
    path = toy.admm(figures.TWO_WEIGHTS, constraint, rho, points, 300)
    ended_there = path.settled() & ((path.Z[-1] - points).abs().amax(-1) < 1e-6)
    assert not (ended_there & ~stays).any()


def test_the_three_regimes_of_one_weight():
    problem, levels = toy.Kinked(), figures.TWO_LEVELS
    starts = torch.linspace(-2, 2, 33, dtype=torch.float64)[:, None]
    for rho in (0.3, 0.7, 1.1, 1.3, 2.2, 3.1, 3.3, 6.0, 20.0):
        path = toy.admm(problem, levels, rho, starts, 200)
        if rho < 1.2:
            assert not path.settled().any()
        elif rho < 3.2:
            assert path.settled().all()
            assert (path.Z[-1] == -1).all()
        else:
            assert path.settled().all()
            assert torch.equal(path.Z[-1], levels.project(starts))


@pytest.mark.parametrize(("rho", "end"), [(1.0, None), (1.7, 1), (5.0, 1), (8.0, -1)])
def test_the_exercise_has_the_answer_its_hints_promise(rho, end):
    problem = toy.Kinked(minimum=-0.1, left=6.0, right=1.5)
    path = toy.admm(problem, figures.TWO_LEVELS, rho, torch.tensor([-0.1], dtype=torch.float64), 300)
    assert (path.Z[-1].item() if path.settled() else None) == end


def test_random_problems_are_what_they_say():
    problem = many(50, 7)
    torch.testing.assert_close(problem.H, problem.H.mT)
    assert (torch.linalg.eigvalsh(problem.H) > 0).all()
    torch.testing.assert_close(
        problem.H.diagonal(dim1=-2, dim2=-1).mean(-1), torch.ones(50, dtype=torch.float64)
    )
    torch.testing.assert_close(problem.curvature, torch.linalg.eigvalsh(problem.H)[:, -1:])
    assert torch.equal(problem.H, many(50, 7).H)


def test_single_updates_take_turns():
    path = toy.admm(toy.Kinked(), figures.TWO_LEVELS, 2.0, torch.tensor([0.2], dtype=torch.float64), 4)
    before = figures.number_line_state(path, 0)
    assert before == (0.2, 1.0, 0.0)
    for step in range(1, 13):
        now = figures.number_line_state(path, step)
        moved = (step - 1) % 3  # W, then Z, then U
        assert [a for i, a in enumerate(now) if i != moved] == [b for i, b in enumerate(before) if i != moved]
        before = now
    assert before == (path.W[-1].item(), path.Z[-1].item(), path.U[-1].item())


def lines(axes):
    return {line.get_label(): line.get_xydata() for line in axes.lines}


def test_the_landscape_shows_the_paths():
    rounds, start = 9, torch.tensor([1.5, -1.0], dtype=torch.float64)
    path = toy.admm(figures.TWO_WEIGHTS, SETS[0], 0.6, start, 20)
    gradient = toy.projected_gradient(figures.TWO_WEIGHTS, SETS[0], start, 20)
    figure = figures.landscape(figures.TWO_WEIGHTS, SETS[0], path, gradient, rounds)
    plane, dual, residual = figure.axes
    shown = lines(plane)
    assert (shown["W of ADMM"] == path.W[: rounds + 1].numpy()).all()
    assert (shown["Z of ADMM"] == path.Z[: rounds + 1].numpy()).all()
    assert (shown["projected gradient"] == gradient[: rounds + 1].numpy()).all()
    assert shown["truncation"].tolist() == [[0.96, 0.0]]
    assert shown["best point of the set"][0] == pytest.approx([0, 0.988])
    assert (lines(dual)["U of ADMM"] == path.U[: rounds + 1].numpy()).all()
    assert lines(residual)["primal"][:, 1] == pytest.approx(path.primal[:rounds].log10().numpy())
    assert {text.get_text() for text in figure.legends[0].texts} >= {"truncation", "W of ADMM"}


def test_residuals_basins_and_shares_show_their_data():
    path = toy.admm(figures.TWO_WEIGHTS, SETS[0], 10.0, CENTRE, 30)
    (axes,) = figures.residuals({"slow": path, "again": path}).axes[:1]
    assert lines(axes)["dual"][:, 1] == pytest.approx(path.dual.log10().numpy())
    starts = figures.start_grid(6)
    ends = {
        (name, rho): figures.outcomes(figures.TWO_WEIGHTS, each, rho, starts)
        for name, each in (("a", SETS[0]), ("b", SETS[1]))
        for rho in (0.3, 0.6)
    }
    assert (ends["a", 0.3] == figures.NEVER).all()
    assert (ends["b", 0.6] == figures.BEST).all()
    images = [axes.images[0].get_array() for axes in figures.basins(ends).axes]
    for image, end in zip(images, ends.values(), strict=True):
        assert (image == end.numpy()).all()
    axes = figures.shares([0.1, 1, 10], [20, 50, 30], {"truncation": 15}).axes[0]
    assert axes.lines[0].get_ydata().tolist() == [20, 50, 30]
    assert axes.lines[1].get_ydata().tolist() == [15, 15]


def test_no_start_of_the_map_lies_on_a_tie():
    starts = figures.start_grid(44)
    assert (starts.abs()[..., 0] - starts.abs()[..., 1]).abs().min() > 1e-3
    for halfway in (-1.0, 0.0, 1.0):
        assert (starts - halfway).abs().min() > 1e-3
