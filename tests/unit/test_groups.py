"""Views times projections: structured sets against an exhaustive search and as properties."""

from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from admm_lib import ADMM, Both, Levels, Sparse, allocation, fit, groups, models, shrink

often = settings(max_examples=60, deadline=None, derandomize=True, database=None)
SHAPES = [(4, 3), (3, 2, 2), (3, 2, 2, 1), (2, 2, 1, 2, 1)]
VIEWS = [view for view in groups.VIEWS if view != "element"]
BLOCKS = [("block", (2, 2)), ("block", (1, 4)), ("block", (3, 1)), ("block", (9, 9))]
SEEN = [(view, None) for view in groups.VIEWS] + BLOCKS


def members_by_hand(shape, by, group=None):
    """The flat indices of each group, written out from what the view's name says."""
    index = torch.arange(torch.Size(shape).numel()).reshape(shape)
    outputs, inputs = shape[:2]
    if by == "block":
        matrix = index.reshape(outputs, -1)
        return [
            matrix[row : row + group[0], column : column + group[1]].reshape(-1).tolist()
            for row in range(0, outputs, group[0])
            for column in range(0, matrix.shape[1], group[1])
        ]
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
@pytest.mark.parametrize(("by", "group"), SEEN)
def test_the_projection_is_the_nearest_of_all_choices_of_groups(shape, by, group):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    each = members_by_hand(shape, by, group)
    assert groups.count(torch.Size(shape), by, group) == len(each)
    assert groups.most_weights(torch.Size(shape), by, group) >= max(map(len, each))
    for keep in sorted({0, 1, len(each) // 2, len(each)}):
        nearest = Sparse(keep=keep, by=by, group=group).project(weight)
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
@given(st.sampled_from(SHAPES), st.sampled_from(SEEN), st.integers(0, 2**31), st.data())
def test_feasible_idempotent_and_never_farther_than_another_member(shape, seen, seed, data):
    by, group = seen
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randint(-2, 3, shape, generator=generator).float()  # ties and zeros on purpose
    count = groups.count(torch.Size(shape), by, group)
    keep = data.draw(st.integers(0, count))
    sparse = Sparse(keep=keep, by=by, group=group)
    nearest = sparse.project(weight)
    each = members_by_hand(shape, by, group)
    assert sum(bool(nearest.reshape(-1)[group].any()) for group in each) <= keep
    assert torch.equal(sparse.project(nearest), nearest)
    other = torch.zeros(torch.Size(shape).numel())
    for g in torch.randperm(count, generator=generator)[:keep]:
        other[each[g]] = torch.randn(len(each[g]), generator=generator)
    assert (weight - nearest).norm() <= (weight.reshape(-1) - other).norm() + 1e-5


def neighbours_by_hand(shape, m):
    """The flat indices of each set of neighbours: of one output, channels next to each other."""
    index = torch.arange(torch.Size(shape).numel()).reshape(shape)
    return [
        row[start : start + m]
        for row in index.movedim(1, -1).reshape(shape[0], -1).tolist()
        for start in range(0, len(row), m)
    ]


@often
@given(st.sampled_from(SHAPES), st.integers(2, 5), st.integers(0, 2**31), st.data())
def test_n_of_m_neighbours_are_the_nearest_of_all_choices(shape, m, seed, data):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randint(-2, 3, shape, generator=generator).double()  # ties and zeros on purpose
    n = data.draw(st.integers(0, m))
    sparse = Sparse(keep=n, by="n:m", group=m)
    assert sparse == Sparse(keep=n, by="n:m", group=m)
    nearest = sparse.project(weight)
    assert torch.equal(sparse.project(nearest), nearest)
    assert torch.equal(torch.where(nearest != 0, weight, 0), nearest)
    for row in neighbours_by_hand(shape, m):
        left, found = weight.reshape(-1)[row], nearest.reshape(-1)[row]
        assert found.count_nonzero() <= n
        cuts = combinations(range(len(row)), max(len(row) - n, 0))
        assert (left - found).square().sum() == min(left[list(cut)].square().sum() for cut in cuts)
        assert int(sparse.chosen(weight).reshape(-1)[row].sum()) == min(n, len(row))


def test_two_of_four_by_ratio_in_steps_and_under_admm():
    model = models.create("lenet5", seed=0)
    sets = {"conv2.weight": Sparse(ratio=2, by="n:m", group=4)}
    sets["fc1.weight"] = Sparse(3, by="block", group=(50, 80))
    assert [step["conv2.weight"].keep for step in allocation.in_steps(model, sets, 2)] == [3, 2]
    assert repr(sets["conv2.weight"]) == "Sparse(ratio=2, by='n:m', group=4)"
    admm = ADMM(model, sets, rho=0.01)
    admm.update()
    admm.finalize()
    kept = model.conv2.weight.permute(0, 2, 3, 1).reshape(-1, 4).count_nonzero(1)
    assert set(kept.tolist()) == {2}
    blocks = model.fc1.weight.reshape(10, 50, 10, 80).abs().amax((1, 3))
    assert int(blocks.count_nonzero()) == 3
    few = Both(Sparse(2, by="n:m", group=4), Levels(2)).project(model.conv2.weight.detach())
    assert len(few[few != 0].unique()) <= 4
    assert int(few.permute(0, 2, 3, 1).reshape(-1, 4).count_nonzero(1).max()) <= 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"by": "block"}, 'by="block" needs group=.rows, columns., whole numbers above 0, not None'),
        ({"by": "block", "group": (0, 4)}, "whole numbers above 0"),
        ({"by": "block", "group": (2, 2, 2)}, "whole numbers above 0"),
        ({"by": "n:m"}, 'by="n:m" needs group=m, a whole number above 1, not None'),
        ({"by": "n:m", "group": 1}, "a whole number above 1, not 1"),
        ({"by": "filter", "group": 4}, "by='filter' has no size"),
        ({"group": 4}, "by='element' has no size"),
    ],
)
def test_sizes_that_make_no_sense(wrong, message):
    with pytest.raises(ValueError, match=message):
        Sparse(keep=1, **wrong)


def test_more_than_m_of_m_is_refused_with_the_layer():
    with pytest.raises(ValueError, match=r"fc1\.weight: keep=5 is more than m=4; lower it"):
        Sparse(5, by="n:m", group=4).check(torch.Size([3, 8]), "fc1.weight")
    with pytest.raises(ValueError, match=r"fc1\.weight: keep=3 is more than its 2 blocks; lower it"):
        Sparse(3, by="block", group=(4, 4)).check(torch.Size([3, 8]), "fc1.weight")
    with pytest.raises(ValueError, match=r"a \+ b: by='n:m' needs the weight of one layer"):
        Sparse(1, by="n:m", group=4).check(torch.Size([24]), "a + b")


@pytest.mark.parametrize(("by", "group"), [("block", (2, 2)), ("n:m", 4)])
def test_a_view_with_a_size_has_no_members_and_n_of_m_no_norms(by, group):
    with pytest.raises(ValueError, match=f"by='{by}' has a size, and no dimensions: choose one of element"):
        groups.members(torch.Size([4, 4]), by)
    if by == "n:m":
        with pytest.raises(ValueError, match="by='n:m' has a size"):
            groups.norms(torch.ones(4, 4), by, group)


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
