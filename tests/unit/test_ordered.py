"""Large layers a part at a time: the same results as all at once, whatever the parts are."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import admm_lib as al
from admm_lib import ordered
from admm_lib.kmeans import kmeans


@pytest.fixture
def small_parts(monkeypatch):
    """Parts of 64, and prefix sums at every 32nd place of more than 50 numbers."""
    monkeypatch.setattr(ordered, "PART", 64)
    monkeypatch.setattr(ordered, "SMALL", 50)


def normal(count, dtype=np.float32, seed=0):
    return np.sort(np.random.default_rng(seed).normal(size=count)).astype(dtype)


@pytest.mark.parametrize("count", [1, 31, 64, 65, 333])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_prefix_sums_at_any_place(small_parts, count, dtype):
    points = normal(count, dtype)
    sums = ordered.PrefixSums(points, (0, 1, 2), shift=0.25)
    places = np.arange(count + 1)
    centred = points.astype(np.float64) - 0.25
    for row, power in zip(sums.at(places), (0, 1, 2), strict=True):
        assert row == pytest.approx([(centred[:i] ** power).sum() for i in places], abs=1e-12)
    assert sums.at(places.reshape(-1, 1)).shape == (3, count + 1, 1)


def test_prefix_sums_with_importance(small_parts):
    points, heavy = normal(200), np.random.default_rng(1).random(200)
    want = [(heavy[:i] * points[:i]).sum() for i in range(201)]
    assert ordered.PrefixSums(points, importance=heavy).at(np.arange(201))[0] == pytest.approx(want)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=200), st.integers(1, 12))
def test_runs_start_where_a_number_first_stands(numbers, most):
    points = np.sort(np.array(numbers, dtype=np.float32))
    want = np.unique(points, return_index=True)[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ordered, "PART", 16)
        count, starts = ordered.runs(points, most)
    assert count == len(want)
    assert starts.tolist() == want[:: -(-len(want) // most)].tolist()
    assert len(starts) <= most


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=30), st.floats(-1, 1))
def test_edges_between_single_precision_numbers_are_not_rounded_past_one(numbers, edge):
    points = np.sort(np.array(numbers, dtype=np.float32))
    edges = np.array([edge, np.nextafter(float(points[0]), -9), float(points[0])])
    want = [(points.astype(np.float64) <= each).sum() for each in edges]
    assert ordered.up_to(points, edges).tolist() == want


@pytest.mark.parametrize("exponent", [-3, 0, 100])
def test_scaling_is_exact_where_single_precision_is_too_small(exponent):
    values = np.array([1.5, -(2.0**-126), 2.0**-149, 0], dtype=np.float32)
    want = np.ldexp(values.astype(np.float64), exponent).tolist()
    assert ordered.scaled(values[:1].copy(), exponent).dtype == np.float32
    assert ordered.scaled(values, exponent).tolist() == want


SETS = [
    al.Levels(bits=3), al.Levels(bits=1), al.Levels(bits=2, step=0.7), al.PowerOfTwo(bits=3), al.Ternary(),
    al.Binary(), al.Clusters(bits=3), al.Clusters(bits=2, init="linear"), al.Levels(bits=2, per="channel"),
]  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("each", SETS, ids=repr)
def test_projections_do_not_depend_on_the_parts(each, dtype, monkeypatch):
    weight = torch.randn(7, 61, generator=torch.Generator().manual_seed(3)) * 40
    weight[weight.abs() < 10] = -0.0
    weight = weight.to(dtype)
    whole = each.project(weight)
    monkeypatch.setattr(ordered, "PART", 64)
    assert torch.equal(whole, each.project(weight))
    monkeypatch.setattr(ordered, "SMALL", 50)
    cut = each.project(weight)
    assert torch.allclose(whole, cut, rtol=1e-6)
    assert not cut[weight == 0].signbit().any()


@pytest.mark.parametrize("init", ["linear", "density", "optimal"])
def test_clusters_of_many_values_are_those_of_all_prefix_sums(init, monkeypatch):
    values = torch.from_numpy(normal(300_000))
    got = kmeans(values, 12, init)
    monkeypatch.setattr("admm_lib.ordered.SMALL", 300_000)
    assert got.error == pytest.approx(kmeans(values, 12, init).error, rel=1e-7)
    assert got.labels.dtype == torch.int32


def test_few_values_among_many_points_are_clustered_exactly(monkeypatch):
    """Each of 200 values may be where a cut lies, though they are far fewer than the points."""
    book = torch.randn(200, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    values = book[torch.randint(200, (9_000,), generator=torch.Generator().manual_seed(2))]
    want = kmeans(values, 9).error
    monkeypatch.setattr("admm_lib.ordered.SMALL", 100)
    assert kmeans(values, 9).error == pytest.approx(want, rel=1e-9)


def test_the_sums_kept_are_few(small_parts):
    assert ordered.PrefixSums(normal(3200))._kept.size == 101


def test_ties_do_not_hide_the_few_values_that_differ():
    """Nearly all points are one value, which quantiles do not look beyond; the others have places as well."""
    values = torch.from_numpy(np.concatenate([[0.5] * 98_900, np.geomspace(0.1, 1e-30, 1100)]))
    distinct = values.unique()
    for clusters in (128, 256):
        heavy = torch.ones(len(distinct), dtype=torch.float64)
        heavy[-1] = 98_900
        want = kmeans(distinct, clusters, importance=heavy).error
        assert kmeans(values, clusters).error <= want * 1.01


def test_a_number_too_small_beside_the_largest_counts_as_zero():
    weight = torch.tensor([2.0, 5e-324], dtype=torch.float64)
    for each in SETS:
        if each.per == "layer":
            assert each.project(weight)[1] == 0


def test_every_so_manieth_run_is_counted_through_all_parts(monkeypatch):
    monkeypatch.setattr(ordered, "PART", 16)
    points = np.repeat(np.arange(50, dtype=np.float32), 3)  # runs of three, in parts of sixteen
    count, starts = ordered.runs(points, 7)
    assert count == 50
    assert starts.tolist() == list(range(0, 150, 24))  # every eighth
