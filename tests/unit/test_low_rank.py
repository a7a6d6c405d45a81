"""Low rank: the projection against what is known of it, the set under ADMM, and the two layers for one."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from unit.tiny import quantized, written

import admm_lib as al
from admm_lib import pipelines, recipes, records
from admm_lib.low_rank import factored
from admm_lib.projections import low_rank

often = settings(max_examples=60, deadline=None, derandomize=True, database=None)


@st.composite
def matrices(draw):
    """A random matrix, a rank for it, and a matrix of at most that rank."""
    rows, columns = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    rank, seed = draw(st.integers(0, min(rows, columns))), draw(st.integers(0, 2**20))
    chance = torch.Generator().manual_seed(seed)
    made = torch.randn(rows, columns, generator=chance, dtype=torch.float64)
    other = torch.randn(rows, rank, generator=chance, dtype=torch.float64)
    return made, rank, other @ torch.randn(rank, columns, generator=chance, dtype=torch.float64)


def rank_of(tensor):
    return int(torch.linalg.matrix_rank(tensor.reshape(len(tensor), -1).double(), rtol=1e-5))


@often
@given(matrices())
def test_it_is_feasible_idempotent_and_nearer_than_any_feasible_point(drawn):
    weight, rank, other = drawn
    nearest = low_rank(weight, rank)
    assert rank_of(nearest) <= rank
    assert torch.equal(low_rank(nearest, rank), nearest)
    best = (weight - nearest).square().sum()
    scale = (weight * other).sum() / other.square().sum() if rank else 0
    for point in (other, scale * other, nearest + 0.01 * (low_rank(nearest + other, rank) - nearest)):
        if rank_of(point) <= rank:
            assert best <= (weight - point).square().sum() + 1e-9
    eigenvalues = torch.linalg.eigvalsh(weight @ weight.T).clamp_min(0)  # in ascending order
    left_out = eigenvalues[: max(len(weight) - rank, 0)].sum()  # Eckart and Young: what it must lose
    torch.testing.assert_close(best, left_out, atol=1e-9, rtol=1e-6)


def test_rank_one_of_two_by_two_is_the_best_of_all_directions():
    weight = torch.tensor([[1.0, 2.0], [-0.5, 3.0]], dtype=torch.float64)
    angles = torch.linspace(0, torch.pi, 20_001, dtype=torch.float64)
    rows = torch.stack([angles.cos(), angles.sin()], 1)  # every row space of rank one, and what it loses
    lost = (weight[None] - (weight @ rows.T).T[:, :, None] * rows[:, None]).square().sum((1, 2))
    found = (weight - low_rank(weight, 1)).square().sum()
    assert lost.min() - 1e-6 < found <= lost.min()


def test_filters_are_rows_and_the_type_stays():
    weight = torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    nearest = low_rank(weight.half(), 2)
    assert nearest.dtype == torch.half
    assert nearest.shape == weight.shape
    as_matrix = low_rank(weight.half().float().reshape(4, 18), 2)
    torch.testing.assert_close(nearest.float(), as_matrix.reshape_as(weight), atol=2e-3, rtol=0)
    with pytest.raises(ValueError, match="rank must lie between 0 and 4, but is 5"):
        low_rank(weight, 5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.half, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shape", [(100, 300), (1100, 1100), (30, 5, 3, 3)])
def test_wide_weights_in_every_type_lose_what_they_must(dtype, shape):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    nearest = low_rank(weight, 2)
    assert nearest.dtype == dtype
    values = torch.linalg.svdvals(weight.double().reshape(len(weight), -1))
    lost = (weight.double() - nearest.double()).norm()
    torch.testing.assert_close(lost, values[2:].norm(), rtol=1e-2, atol=0)
    assert torch.equal(low_rank(nearest, 2), nearest)
    held = al.LowRank(2).hold(nearest)
    assert held.right_inverse(nearest).dtype == dtype


def test_narrow_types_go_through_admm_and_what_is_not_finite_is_refused():
    model = nn.Sequential(nn.Linear(300, 100)).bfloat16()
    admm = al.ADMM(model, {"0.weight": al.LowRank(3)})
    admm.update()
    admm.finalize()
    assert model[0].weight.dtype == torch.bfloat16
    values = torch.linalg.svdvals(model[0].weight.detach().double())
    assert values[3:].norm() < 0.02 * values.norm()
    with pytest.raises(ValueError, match="NaN or infinite has no singular values"):
        low_rank(torch.full((3, 3), torch.nan), 1)


def test_a_pruned_layer_is_refused_before_any_training():
    model = al.models.create("lenet300", 0)
    al.ADMM(model, {"fc2.weight": al.Sparse(ratio=4)}).finalize()
    with pytest.raises(ValueError, match=r"fc2\.weight is pruned, and LowRank\(rank=3\) would fill it again"):
        al.ADMM(model, {"fc2.weight": al.LowRank(3)})


def test_the_set_says_what_does_not_fit():
    for rank in (0, -1, 1.5, "2", True):
        with pytest.raises(ValueError, match="rank is a count, 1 or more"):
            al.LowRank(rank)
    with pytest.raises(ValueError, match=r"fc1\.weight: rank 11 is more than its 10: lower it"):
        al.LowRank(11).check(torch.Size([10, 300]), "fc1.weight")
    with pytest.raises(ValueError, match="only one weight of two dimensions or more"):
        al.LowRank(1).check(torch.Size([3000]), "a + b")
    with pytest.raises(ValueError, match="has no levels to freeze"):
        al.rivals.freeze_nearest(al.models.create("lenet300", 0), {"fc1.weight": al.LowRank(3)}, 0.5)


def test_admm_ends_in_it_and_training_stays_there():
    model, images = al.models.create("lenet300", 0), al.data.load("digits").train.subset(256)
    admm = al.ADMM(model, {"fc1.weight": al.LowRank(7), "fc2.weight": al.LowRank(5)}, rho=0.01)
    al.fit(model, images, 1, admm=admm, seed=0)
    admm.finalize()
    held = model.fc1.weight.detach().clone()
    al.fit(model, images, 1, seed=1)
    assert not torch.equal(held, model.fc1.weight)
    assert (rank_of(model.fc1.weight), rank_of(model.fc2.weight)) == (7, 5)
    assert isinstance(al.bake(model).fc1.weight, nn.Parameter)
    assert rank_of(model.fc1.weight) == 7


def test_two_layers_compute_what_one_did():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), nn.ReLU(), nn.Flatten(),
        nn.Sequential(nn.Linear(128, 20), nn.ReLU()), nn.Linear(20, 4),
    ).eval()  # fmt: skip
    for name, rank in (("0", 4), ("3.0", 6)):
        weight = model.get_submodule(name).weight
        weight.data = low_rank(weight.data, rank)
    before, inputs = copy.deepcopy(model.state_dict()), torch.randn(5, 3, 8, 8)
    thin = factored(model, {"0": 4, "3.0.weight": al.LowRank(6)})
    torch.testing.assert_close(thin(inputs), model(inputs))
    assert all(torch.equal(before[name], each) for name, each in model.state_dict().items())
    assert [p.numel() for p in thin.parameters()] == [4 * 27, 8 * 4, 6 * 128, 20 * 6, 20, 80, 4]
    assert not thin[0].training


@pytest.mark.parametrize(
    ("ranks", "message"),
    [
        ({"fc9": 3}, "'fc9' is no Linear or Conv2d layer"),
        ({"act1": 3}, "'act1' is no Linear or Conv2d layer"),
        ({"": 3}, "'' is no Linear or Conv2d layer"),
        *[
            ({"fc3": odd}, f"fc3: rank is a whole number from 1 to its smaller side, not {odd!r}")
            for odd in (11, 0, 2.5, "2", True)
        ],
    ],
)
def test_layers_that_cannot_be_two_are_named(ranks, message):
    with pytest.raises(ValueError, match=message):
        factored(al.models.create("lenet300", 0), ranks)


def test_a_recipe_of_low_rank_records_the_file_of_the_thin_layers(elsewhere):
    sets = {"fc1.weight": {"set": "low-rank", "rank": 9}, "fc2.weight": {"set": "low-rank", "rank": 8}}
    path = written(elsewhere, **quantized(sets))
    pipelines.run_recipes([path], report=lambda line: None)
    (run,) = records.read("tiny")["runs"]
    assert run["weights"] == 266_200  # of the network it came from
    assert run["nonzero_weights"] == 9 * (784 + 300) + 8 * (300 + 100) + 1000
    assert run["file_bytes"] < 4 * (run["nonzero_weights"] + 410) + 500
    recipe = records.read("tiny")["recipe"]
    assert not recipes.quantizes(recipe)
    thin = factored(al.models.create("lenet300"), {"fc1": 9, "fc2": 8})
    decoded = al.load(elsewhere / run["file"], thin)
    assert run["test_accuracy"] == round(al.evaluate(decoded, al.data.load("digits").test).accuracy, 4)
    before = (elsewhere / run["file"]).read_bytes()
    pipelines.reencode()
    assert (elsewhere / run["file"]).read_bytes() == before
