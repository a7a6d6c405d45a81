"""Projections against an exhaustive search on tiny inputs, and as properties on random ones."""

import math
from itertools import combinations, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from admm_lib import Sparse, groups, projections
from admm_lib.projections import (
    hard_threshold,
    nearest_level,
    soft_threshold,
    top_k,
    top_k_mask,
)

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
TINY = [-2.0, -1.0, -0.5, 0.0, 0.5, 1.0]  # exact in every dtype, full of ties
often = settings(max_examples=60, deadline=None, derandomize=True, database=None)
sizes = st.floats(2**-8, 2**8, width=32)  # of one order, so that distances compare exactly enough
reals = st.one_of(st.just(0.0), sizes, sizes.map(lambda size: -size))
vectors = st.lists(reals, min_size=1, max_size=12).map(torch.tensor)


def distance(a, b):
    return (a.double() - b.double()).square().sum().item()


def best_support(weight, keep):
    """By trying all supports of size `keep`; among the best the one with the lowest indices."""
    lost = {
        kept: sum(v * v for i, v in enumerate(weight) if i not in kept)
        for kept in combinations(range(len(weight)), keep)
    }
    return min(kept for kept in lost if lost[kept] == min(lost.values()))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_top_k_is_the_best_of_all_supports(dtype):
    for weight in product(TINY, repeat=3):
        for keep in range(4):
            kept = best_support(weight, keep)
            mask = top_k_mask(torch.tensor(weight, dtype=dtype), keep)
            found = top_k(torch.tensor(weight, dtype=dtype), keep)
            assert mask.nonzero().flatten().tolist() == list(kept), (weight, keep)
            assert found.tolist() == [v if i in kept else 0 for i, v in enumerate(weight)]
            assert found.dtype == dtype


@pytest.mark.parametrize("weight", [[3.0, -3, 3, 3, -3, 3], [0.0] * 6, [1.0, 0, 0, 0, 0, 0]])
def test_top_k_keeps_exactly_k_with_ties_to_the_lower_index(weight):
    for keep in range(7):
        mask = top_k_mask(torch.tensor(weight), keep)
        assert mask.tolist() == [i < keep for i in range(6)]


@pytest.mark.parametrize("size", [1, 3, 4])
def test_ties_are_filled_up_piece_by_piece(size, monkeypatch):
    monkeypatch.setattr(projections, "PIECE", size)
    weight = torch.tensor([1.0, 2, -1, 1, 1, 0.5, -1, 1, 1, 2, -1, 1])
    order = [1, 9, 0, 2, 3, 4, 6, 7, 8, 10, 11, 5]  # by magnitude, then by place
    for keep in range(13):
        assert top_k_mask(weight, keep).nonzero().flatten().tolist() == sorted(order[:keep])


@often
@given(vectors, st.data())
def test_top_k_is_feasible_idempotent_and_nearest(weight, data):
    keep = data.draw(st.integers(0, weight.numel()))
    found = top_k(weight, keep)
    assert int(top_k_mask(weight, keep).sum()) == keep
    assert int((found != 0).sum()) == min(keep, int((weight != 0).sum()))
    assert torch.equal(found[found != 0], weight[found != 0])  # survivors are untouched
    assert torch.equal(top_k(found, keep), found)
    for _ in range(5):  # no feasible point that we can think of lies nearer
        support = data.draw(st.permutations(range(weight.numel())))[:keep]
        other = torch.zeros_like(weight)
        other[support] = torch.tensor(data.draw(st.lists(reals, min_size=keep, max_size=keep)))
        assert distance(found, weight) <= distance(other, weight)
        other[support] = weight[support]
        assert distance(found, weight) <= distance(other, weight) * (1 + 1e-12)


@often
@given(vectors, st.data(), st.sampled_from([-4.0, -1.0, 0.25, 2.0]))
def test_top_k_commutes_with_scaling(weight, data, scale):
    keep = data.draw(st.integers(0, weight.numel()))
    assert torch.equal(top_k(scale * weight, keep), scale * top_k(weight, keep))


def layouts():
    """Views of one (2, 3, 4, 2) tensor that are stored in different ways."""
    base = torch.randn(2, 3, 4, 2, generator=torch.Generator().manual_seed(0))
    yield base.contiguous(memory_format=torch.channels_last)
    yield base.transpose(0, 2)
    yield base.flatten()[::2]
    yield base[:, :1].expand(2, 3, 4, 2)


@pytest.mark.parametrize("weight", list(layouts()))
def test_projections_see_the_values_and_not_the_storage(weight):
    before = weight.clone()
    plain = weight.clone(memory_format=torch.contiguous_format)
    for keep in (0, 1, 7, weight.numel()):
        assert torch.equal(top_k(weight, keep), top_k(plain, keep))
    levels = torch.tensor([-1.0, 0.0, 1.0])
    assert torch.equal(nearest_level(weight, levels), nearest_level(plain, levels))
    for by in groups.VIEWS if weight.dim() > 1 else ():
        assert torch.equal(Sparse(keep=1, by=by).project(weight), Sparse(keep=1, by=by).project(plain))
    assert torch.equal(weight, before)  # inputs are left alone


def test_odd_shapes():
    assert top_k(torch.tensor(3.0), 0) == 0
    assert top_k(torch.tensor(3.0), 1) == 3
    assert top_k(torch.zeros(0, 4), 0).shape == (0, 4)
    assert nearest_level(torch.tensor(0.4), torch.tensor(1.0)) == 1
    assert nearest_level(torch.zeros(0, 4), torch.tensor([1.0])).shape == (0, 4)


def test_top_k_neither_aliases_nor_lets_nan_survive():
    weight = torch.tensor([1.0, 2.0])
    top_k(weight, 2).zero_()
    assert weight.tolist() == [1, 2]
    assert top_k(torch.tensor([float("nan"), 1.0, 2.0]), 2).tolist() == [0, 0, 2]
    assert top_k(torch.tensor([1.0, float("-inf"), 2.0]), 1).tolist() == [0, float("-inf"), 0]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("levels", [(0.0,), (-1.0, 1.0), (0.5, -0.5, 0.0), (1.0, 1.0, -2.0)])
def test_nearest_level_is_the_best_of_all_assignments(dtype, levels):
    for weight in product([*TINY, 0.25, -0.75], repeat=2):  # the last two lie halfway
        cost = {
            chosen: sum((v - q) ** 2 for v, q in zip(weight, chosen, strict=True))
            for chosen in product(levels, repeat=2)
        }
        best = min(chosen for chosen in cost if cost[chosen] == min(cost.values()))
        found = nearest_level(torch.tensor(weight, dtype=dtype), torch.tensor(levels))
        assert found.tolist() == list(best), weight
        assert found.dtype == dtype


@often
@given(vectors, st.lists(reals, min_size=1, max_size=5), st.sampled_from(DTYPES))
def test_nearest_level_is_feasible_idempotent_and_nearest(weight, levels, dtype):
    weight, levels = weight.to(dtype), torch.tensor(levels).to(dtype)
    found = nearest_level(weight, levels)
    assert bool(torch.isin(found, levels).all())
    assert torch.equal(nearest_level(found, levels), found)
    off = (weight.double()[:, None] - levels.double()).abs()
    assert torch.equal((weight.double() - found.double()).abs(), off.min(1).values)


@pytest.mark.parametrize("dtype", DTYPES[1:], ids=str)  # nextafter knows no float16
@pytest.mark.parametrize("start", [1.0, -1.0, 1e-3])
def test_neighbouring_levels_are_told_apart(dtype, start):
    levels = [torch.tensor(start, dtype=dtype)]
    for _ in range(4):
        levels.append(levels[-1].nextafter(torch.tensor(2.0, dtype=dtype)))
    levels = torch.stack(levels)
    assert torch.equal(nearest_level(levels, levels), levels)
    apart = levels[::2]
    assert torch.equal(nearest_level(levels[1::2], apart), apart[:-1])  # halfway: the lower one


def test_no_graph_comes_in_with_the_levels():
    levels = torch.tensor([-1.0, 1.0], requires_grad=True)
    assert not nearest_level(torch.ones(2, requires_grad=True), levels).requires_grad


def test_the_gradient_of_top_k_is_that_of_the_survivors():
    weight = torch.tensor([1.0, -3.0, 2.0], requires_grad=True)
    top_k(weight, 2).sum().backward()
    assert weight.grad.tolist() == [0, 1, 1]


def test_levels_near_the_end_of_the_range():
    end = torch.finfo(torch.float32).max
    weight = torch.tensor([end, 0.9 * end, 0.6 * end])
    assert nearest_level(weight, torch.tensor([0.7 * end, end])).tolist() == pytest.approx(
        [end, end, 0.7 * end]
    )


VALUES = torch.tensor([-3.0, -1.5, -1.0, -0.9, -0.5, 0.0, 0.3, 0.9, 1.1, 1.9, 2.1, 3.0]).double()
GRID = torch.linspace(-4, 4, 8 * 640 + 1, dtype=torch.float64)  # holds 0 and all of VALUES nearly


@pytest.mark.parametrize("lam", [0.0, 0.1, 0.5, 1.0, 2.0])
@pytest.mark.parametrize(
    ("prox", "size"),
    [(soft_threshold, torch.abs), (hard_threshold, lambda z: (z != 0).double())],
    ids=["l1", "l0"],
)
def test_thresholds_minimise_their_objective(prox, size, lam):
    found = prox(VALUES, lam)
    for v, z in zip(VALUES, found, strict=True):
        candidates = torch.cat([GRID, v[None]])
        best = (lam * size(candidates) + (candidates - v).square() / 2).min()
        assert lam * size(z) + (z - v).square() / 2 <= best + 1e-12


def test_hard_threshold_is_at_the_root_of_two_lambda():
    # Coded as |v| > lam, 0.6 would survive lam = 0.5, and 4.5 would not survive lam = 8.
    assert hard_threshold(torch.tensor([0.6, 0.9, 1.1]), 0.5).tolist() == pytest.approx([0, 0, 1.1])
    assert hard_threshold(torch.tensor([3.9, 4.5]), 8.0).tolist() == pytest.approx([0, 4.5])
    assert hard_threshold(torch.tensor([2.0, -2.0]), 2.0).tolist() == [0, 0]  # both minimise: zero


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_thresholds_keep_shape_and_dtype(dtype):
    v = torch.tensor([[2.0, -0.5], [0.0, -3.0]], dtype=dtype)
    assert soft_threshold(v, 1.0).tolist() == [[1, 0], [0, -2]]
    assert hard_threshold(v, 0.5).tolist() == [[2, 0], [0, -3]]
    assert soft_threshold(v, 1.0).dtype == hard_threshold(v, 1.0).dtype == dtype


@pytest.mark.parametrize("keep", [-1, 4])
def test_top_k_refuses_a_count_outside_the_weight(keep):
    with pytest.raises(ValueError, match=f"between 0 and the 3 weights, but is {keep}"):
        top_k(torch.ones(3), keep)


@pytest.mark.parametrize("count", [1, 2, projections.FEW + 1, projections.FEW + 2, 256])
def test_few_levels_and_many_are_told_apart_alike(count):
    levels = torch.randn(count, generator=torch.Generator().manual_seed(count)).sort().values
    edges = (levels[1:] + levels[:-1]) / 2
    weight = torch.cat([torch.linspace(-3, 3, 501), torch.tensor([math.inf, -math.inf])])
    assert torch.equal(nearest_level(weight, levels), levels[torch.bucketize(weight, edges)])
    assert nearest_level(torch.tensor([math.nan]), levels) == levels[-1]


@pytest.mark.parametrize("levels", [[], [1.0, float("inf")], [float("nan")], [1e6]])
def test_nearest_level_refuses_levels_that_are_not_finite_in_the_weights_dtype(levels):
    with pytest.raises(ValueError, match="at least one value, and only finite ones"):
        nearest_level(torch.ones(3, dtype=torch.float16), torch.tensor(levels))


@pytest.mark.parametrize("prox", [soft_threshold, hard_threshold])
@pytest.mark.parametrize("lam", [-0.1, float("nan")])
def test_thresholds_refuse_a_negative_lambda(prox, lam):
    with pytest.raises(ValueError, match="lam must not be negative"):
        prox(torch.ones(3), lam)


def test_an_unknown_view_names_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown view by='rows': choose one of .*element"):
        groups.norms(torch.ones(2, 2), by="rows")
