"""1-D k-means: against an exhaustive search, against another library, and as properties."""

from itertools import combinations, pairwise

import kmeans1d
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from admm_lib import line
from admm_lib.kmeans import RANDOM, STARTS, kmeans

SMALL = st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=9)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def least_error(values, clusters, importance):
    """By trying every way to cut the sorted values into at most `clusters` runs."""
    order = np.argsort(values)
    x, h = values[order], importance[order]
    least = np.inf
    for count in range(1, min(clusters, len(x)) + 1):
        for inner in combinations(range(1, len(x)), count - 1):
            error = 0.0
            for first, last in pairwise([0, *inner, len(x)]):
                mean = np.average(x[first:last], weights=h[first:last])
                error += (h[first:last] * (x[first:last] - mean) ** 2).sum()
            least = min(least, error)
    return least


@settings(max_examples=300)
@given(SMALL, st.integers(1, 4), st.integers(0, 99))
def test_the_optimum_is_that_of_an_exhaustive_search(values, clusters, seed):
    importance = torch.rand(len(values), generator=generator(seed), dtype=torch.float64) + 0.01
    for h in (None, importance):
        got = kmeans(torch.tensor(values), clusters, importance=h)
        ones = np.ones(len(values)) if h is None else h.numpy()
        want = least_error(np.array(values), clusters, ones)
        assert got.error == pytest.approx(want, abs=1e-9)


@pytest.mark.parametrize("window", [9, 65])
@pytest.mark.parametrize("clusters", [1, 2, 3, 5])
def test_the_refined_optimum_of_a_coarse_grid_is_still_the_optimum(clusters, window, monkeypatch):
    monkeypatch.setattr(line, "GRID", 100)
    monkeypatch.setattr(line, "WINDOW", window)
    values = torch.randn(3000, generator=generator(1), dtype=torch.float64)
    got = kmeans(values, clusters)
    labels, centroids = kmeans1d.cluster(values.numpy(), clusters)
    want = ((values.numpy() - np.array(centroids)[labels]) ** 2).sum()
    # Narrow windows can stop at a cut that no single move improves.
    assert got.error == pytest.approx(want, rel=1e-9 if window == 65 else 1e-2)


@pytest.mark.parametrize("shape", ["normal", "laplace", "heavy tails", "two humps", "pruned"])
@pytest.mark.parametrize("clusters", [4, 16])
def test_the_optimum_of_many_values_is_within_a_millionth_of_kmeans1d(shape, clusters):
    rng = np.random.default_rng(3)
    values = {
        "normal": lambda n: rng.normal(size=n),
        "laplace": lambda n: rng.laplace(size=n),
        "heavy tails": lambda n: rng.standard_t(3, n),
        "two humps": lambda n: np.concatenate([rng.normal(-1, 0.1, n // 2), rng.normal(1, 0.4, n // 2)]),
        "pruned": lambda n: np.where(rng.random(n) < 0.5, 0, rng.normal(size=n)),
    }[shape](50_000)
    labels, centroids = kmeans1d.cluster(values, clusters)
    want = ((values - np.array(centroids)[labels]) ** 2).sum()
    assert kmeans(torch.from_numpy(values), clusters).error <= want * (1 + 1e-6)


@given(SMALL, st.integers(1, 5), st.sampled_from(list(STARTS)), st.integers(0, 9))
def test_every_start_ends_where_lloyd_stops(values, clusters, init, seed):
    values = torch.tensor(values, dtype=torch.float64)
    got = kmeans(values, clusters, init, generator=generator(seed))
    distinct = len(set(values.tolist()))
    assert len(got.centroids) == min(clusters, distinct)
    assert bool((got.centroids.diff() > 0).all())
    distances = (values[:, None] - got.centroids).abs()
    chosen = distances.gather(1, got.labels[:, None]).squeeze(1)
    assert torch.allclose(chosen, distances.min(1).values, rtol=0, atol=1e-12)
    for k, centroid in enumerate(got.centroids):
        mine = values[got.labels == k]
        assert len(mine) > 0
        assert mine.mean().item() == pytest.approx(centroid.item(), abs=1e-9)
        assert mine.min() <= centroid <= mine.max()
    assert got.error == pytest.approx(((values - got.centroids[got.labels]) ** 2).sum().item(), abs=1e-9)
    assert got.error >= kmeans(values, clusters).error - 1e-9
    again = kmeans(values, clusters, init, generator=generator(seed))
    assert torch.equal(got.centroids, again.centroids)


def test_starts_lie_where_they_should():
    values = torch.cat([torch.zeros(90), torch.linspace(0, 9, 10)]).double()
    start = {name: kmeans(values, 4, name, iterations=0, generator=generator()).centroids for name in STARTS}
    assert start["linear"].tolist() == [0, 3, 6, 9]
    assert kmeans(torch.arange(8.0), 4, "density", iterations=0).centroids.tolist() == [0, 2, 4, 6]
    assert set(start["forgy"].tolist()) <= set(values.tolist())
    assert len(set(start["forgy"].tolist())) == 4
    assert set(start["k-means++"].tolist()) <= set(values.tolist())
    assert torch.equal(start["optimal"], kmeans(values, 4).centroids)


def test_forgy_draws_observations_and_not_values():
    values = torch.cat([torch.randn(1000, generator=generator()) * 1e-3, torch.linspace(10, 11, 10)])
    starts = [kmeans(values, 2, "forgy", iterations=0, generator=generator(s)).centroids for s in range(50)]
    assert sum(bool((start > 5).any()) for start in starts) < 10


def test_k_means_plus_plus_draws_by_squared_distance():
    """Of three points at 0, 1 and 3, after 0 the next is 3 nine times out of ten."""
    values, far, near = torch.tensor([0.0, 1.0, 3.0]), 0, 0
    for seed in range(1500):
        start = kmeans(values, 2, "k-means++", iterations=0, generator=generator(seed)).centroids.tolist()
        far, near = far + (start == [0, 3]), near + (start == [0, 1])
    # P(0 then 3) + P(3 then 0) = (9/10 + 9/13) / 3, and P(0, 1) = (1/10 + 1/5) / 3.
    assert far / 1500 == pytest.approx((9 / 10 + 9 / 13) / 3, abs=0.05)
    assert near / 1500 == pytest.approx((1 / 10 + 1 / 5) / 3, abs=0.03)


def test_importance_counts_like_copies():
    values = torch.tensor([0.0, 1.0, 4.0, 4.5, 9.0])
    copies = torch.tensor([3, 1, 2, 5, 1])
    heavy = kmeans(values, 2, importance=copies.double())
    repeated = kmeans(values.repeat_interleave(copies), 2)
    assert torch.allclose(heavy.centroids, repeated.centroids)
    assert heavy.error == pytest.approx(repeated.error)


def test_values_without_importance_are_labelled_and_no_more():
    values = torch.tensor([0.0, 1.0, 100.0])
    got = kmeans(values, 2, importance=torch.tensor([1.0, 1.0, 0.0]))
    assert got.centroids.tolist() == [0, 1]
    assert got.labels.tolist() == [0, 1, 1]
    assert got.error == 0


def test_importance_moves_the_starts_too():
    values, ones = torch.arange(10.0), torch.ones(10)
    heavy = torch.where(values == 9, 1000, ones)
    start = kmeans(values, 4, "density", importance=heavy, iterations=0).centroids
    assert start.tolist() == [9, 9, 9, 9]
    for seed in range(20):
        drawn = kmeans(
            values, 2, "k-means++", importance=heavy * heavy, iterations=0, generator=generator(seed)
        )
        assert 9 in drawn.centroids


def test_a_centroid_without_points_moves_to_the_farthest_value_and_is_counted():
    values = torch.tensor([0.0, 0.1, 0.2, 10.0])
    moved = kmeans(values, 3, "linear", iterations=1)  # starts at 0, 5 and 10: nothing is near 5
    assert moved.centroids.tolist() == pytest.approx([0, 0.2, 10])
    got = kmeans(values, 3, "linear")
    assert got.relocated == 1
    assert got.error == pytest.approx(kmeans(values, 3).error)
    assert kmeans(values, 3).relocated == 0


def test_many_centroids_without_points_move_to_different_values():
    values = torch.tensor([0.0, 0.001, 0.002, 0.003, 0.004, 10.0])
    moved = kmeans(values, 5, "linear", iterations=1).centroids.tolist()  # three of the starts are between
    assert len(set(moved)) == 5
    assert {0, 10} < set(moved)
    assert moved[-2] == pytest.approx(0.004)


def test_iterations_are_counted_and_limited():
    values = torch.randn(500, generator=generator(4))
    whole = kmeans(values, 8, "linear")
    assert whole.iterations > 3
    fewer = kmeans(values, 8, "linear", iterations=whole.iterations - 2)
    assert not torch.equal(fewer.centroids, whole.centroids)
    assert torch.equal(kmeans(values, 8, "linear", iterations=whole.iterations).centroids, whole.centroids)


@pytest.mark.parametrize("scale", [1e-200, 1e-30, 1, 1e30, 1e200])
def test_the_scale_does_not_matter(scale):
    values = torch.tensor([1.0, 2.0, 3.0, 4.0, 10.0], dtype=torch.float64)
    got = kmeans(values * scale, 2)
    assert (got.centroids / scale).tolist() == pytest.approx([2.5, 10])


def test_clusters_far_from_zero_are_found():
    values = 1e8 + torch.tensor([0.0, 1, 2, 10, 11, 12, 20, 21, 22], dtype=torch.float64)
    assert (kmeans(values, 3).centroids - 1e8).tolist() == [1, 11, 21]


def test_neighbouring_doubles_are_told_apart():
    above = np.nextafter(1.0, 2.0)
    values = torch.tensor([above, np.nextafter(above, 2.0)], dtype=torch.float64)
    got = kmeans(values, 2)
    assert got.labels.tolist() == [0, 1]
    assert got.error == 0


@pytest.mark.parametrize("far", [1e3, 1e6, 1e9])
def test_an_outlier_does_not_upset_the_grid(far):
    values = torch.randn(3000, generator=generator(), dtype=torch.float64)
    values[7] = far
    for clusters in (2, 16, 64):
        got = kmeans(values, clusters)
        assert len(got.centroids) == clusters
        if far < 1e9:  # beyond, the others' differences drown in the outlier's square
            rest = values[values < far]
            assert got.error == pytest.approx(kmeans(rest, clusters - 1).error, rel=1e-2)


def test_the_optimum_follows_importance(monkeypatch):
    values = torch.linspace(0, 1, 20_000, dtype=torch.float64)
    heavy = torch.where((values - 0.5).abs() < 0.01, 1e7, 1.0)
    quick = kmeans(values, 16, importance=heavy).error
    monkeypatch.setattr(line, "GRID", 10**6)
    assert quick <= kmeans(values, 16, importance=heavy).error * (1 + 1e-6)


def test_fewer_values_than_clusters_give_fewer_centroids():
    got = kmeans(torch.tensor([[2.0, 1.0], [1.0, 2.0]]), 8, "linear")
    assert got.centroids.tolist() == [1, 2]
    assert got.labels.tolist() == [[1, 0], [0, 1]]
    assert (got.error, got.iterations, got.relocated) == (0, 0, 0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_float_is_clustered_in_double(dtype):
    values = torch.randn(5, 20, generator=generator(2)).to(dtype).T  # not contiguous
    got, want = kmeans(values, 4), kmeans(values.double(), 4)
    assert torch.equal(got.centroids, want.centroids)
    assert got.labels.shape == values.shape


@pytest.mark.parametrize(
    ("values", "arguments", "message"),
    [
        (torch.zeros(0), {"clusters": 2}, "there are no values to cluster"),
        (torch.tensor([1.0, float("nan")]), {"clusters": 2}, "values hold NaN or infinity"),
        (torch.tensor([1.0, float("inf")]), {"clusters": 2}, "values hold NaN or infinity"),
        (torch.ones(3), {"clusters": 0}, "clusters must be a whole number, 1 or more, but is 0"),
        (torch.ones(3), {"clusters": 2.5}, "1 or more, but is 2.5"),
        (torch.ones(3), {"clusters": 2, "init": "lineer"}, "choose one of forgy, density, linear"),
        (torch.ones(3), {"clusters": 2, "importance": torch.ones(2)}, r"shaped \(2,\), but the values"),
        (torch.ones(3), {"clusters": 2, "importance": -torch.ones(3)}, "importance must be 0 or more"),
        (torch.ones(3), {"clusters": 2, "importance": torch.zeros(3)}, "not 0 everywhere"),
        (torch.ones(3), {"clusters": 2, "iterations": -1}, "iterations must not be negative"),
        (torch.ones(2), {"clusters": 2, "importance": torch.tensor([1e-9, 1e9])}, "more than a factor of 1e"),
        (torch.ones(3), {"clusters": 2, "importance": torch.ones(3) / 0}, "importance hold NaN"),
    ],
)  # fmt: skip
def test_bad_input_is_named(values, arguments, message):
    with pytest.raises(ValueError, match=message):
        kmeans(values, **arguments)


@pytest.mark.parametrize("init", RANDOM)
def test_a_random_start_needs_a_generator(init):
    with pytest.raises(ValueError, match=r"generator=torch\.Generator"):
        kmeans(torch.ones(3), 2, init)
