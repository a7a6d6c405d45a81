"""Views times projections: structured sets against an exhaustive search and as properties."""

from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from admm_lib import ADMM, Sparse, fit, groups, models, shrink

often = settings(max_examples=60, deadline=None, derandomize=True, database=None)
SHAPES = [(4, 3), (3, 2, 2), (3, 2, 2, 1), (2, 2, 1, 2, 1)]
VIEWS = [view for view in groups.VIEWS if view != "element"]


def members_by_hand(shape, by):
    """The flat indices of each group, written out from what the view's name says."""
    index = torch.arange(torch.Size(shape).numel()).reshape(shape)
    outputs, inputs = shape[:2]
    if by == "filter":
        return [index[o].reshape(-1).tolist() for o in range(outputs)]
    if by == "channel":
        return [index[:, i].reshape(-1).tolist() for i in range(inputs)]
    if by == "kernel":
        return [index[o, i].reshape(-1).tolist() for o in range(outputs) for i in range(inputs)]
    if by == "column":
        return index.reshape(outputs, -1).T.tolist()
    return [[i] for i in range(index.numel())]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("by", groups.VIEWS)
def test_the_projection_is_the_nearest_of_all_choices_of_groups(shape, by):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    each = members_by_hand(shape, by)
    assert groups.count(torch.Size(shape), by) == len(each)
    for keep in sorted({0, 1, len(each) // 2, len(each)}):
        nearest = Sparse(keep=keep, by=by).project(weight)
        distance = (weight - nearest).square().sum()
        best = min(
            weight.reshape(-1)[[i for group in cut for i in group]].square().sum()
            for cut in combinations(each, len(each) - keep)
        )
        assert torch.isclose(distance, best, rtol=1e-12, atol=0) or distance == best
        alive = [group for group in each if nearest.reshape(-1)[group].any()]
        assert len(alive) == keep
        assert all(torch.equal(nearest.reshape(-1)[g], weight.reshape(-1)[g]) for g in alive)


@often
@given(st.sampled_from(SHAPES), st.sampled_from(list(groups.VIEWS)), st.integers(0, 2**31), st.data())
def test_feasible_idempotent_and_never_farther_than_another_member(shape, by, seed, data):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randint(-2, 3, shape, generator=generator).float()  # ties and zeros on purpose
    count = groups.count(torch.Size(shape), by)
    keep = data.draw(st.integers(0, count))
    sparse = Sparse(keep=keep, by=by)
    nearest = sparse.project(weight)
    each = members_by_hand(shape, by)
    assert sum(bool(nearest.reshape(-1)[group].any()) for group in each) <= keep
    assert torch.equal(sparse.project(nearest), nearest)
    other = torch.zeros(torch.Size(shape).numel())
    for g in torch.randperm(count, generator=generator)[:keep]:
        other[each[g]] = torch.randn(len(each[g]), generator=generator)
    assert (weight - nearest).norm() <= (weight.reshape(-1) - other).norm() + 1e-5


def test_structured_sets_on_layers_that_are_masked_tied_or_shared_by_two_sets():
    model = models.create("lenet300", seed=0)
    ADMM(model, {"fc2.weight": Sparse(ratio=4)}).finalize()
    ADMM(model, {"fc2.weight": Sparse(keep=30, by="channel")}).finalize()  # within the mask of the first
    assert int(model.fc2.weight.any(0).sum()) == 30
    assert int(model.fc2.weight.count_nonzero()) <= 30_000 // 4

    both = models.create("lenet300", seed=0)
    ADMM(both, {"fc1.weight": [Sparse(keep=20, by="filter"), Sparse(keep=2000)]}).finalize()
    assert int(both.fc1.weight.any(1).sum()) <= 20
    assert int(both.fc1.weight.count_nonzero()) <= 2000

    tied = torch.nn.Sequential(torch.nn.Linear(6, 6), torch.nn.Linear(6, 6))
    tied[1].weight = tied[0].weight
    ADMM(tied, {"0.weight": Sparse(keep=2, by="filter")}).finalize()
    assert torch.equal(tied[0].weight, tied[1].weight)
    assert int(tied[1].weight.any(1).sum()) == 2


def test_ratios_count_groups():
    with pytest.raises(ValueError, match=r"ratio is filters per nonzero filter, 1 or more, but is 0\.5"):
        Sparse(ratio=0.5, by="filter")
    assert Sparse(ratio=3, by="filter").project(torch.ones(7, 2)).any(1).sum() == 2


def test_ties_go_to_the_lower_group_and_half_precision_does_not_overflow():
    assert Sparse(keep=1, by="filter").project(torch.ones(3, 2)).tolist() == [[1, 1], [0, 0], [0, 0]]
    large = torch.tensor([[300.0, 0.0], [200.0, 200.0]], dtype=torch.float16)
    assert Sparse(keep=1, by="filter").project(large).tolist() == [[300, 0], [0, 0]]


def test_filters_that_admm_prunes_are_gone_after_shrink():
    generator = torch.Generator().manual_seed(0)
    data = torch.randn(64, 784, generator=generator), torch.randint(0, 10, (64,), generator=generator)
    model = models.lenet300()
    sets = {"fc1.weight": Sparse(keep=20, by="filter"), "fc2.weight": Sparse(ratio=10, by="filter")}
    admm = ADMM(model, sets, rho=0.1)
    fit(model, [data], 2, admm=admm, progress=False)
    admm.finalize()
    small = shrink(model)
    assert [tuple(small.get_submodule(name).weight.shape) for name in ("fc1", "fc2", "fc3")] == [
        (20, 784), (10, 20), (10, 10)
    ]  # fmt: skip
