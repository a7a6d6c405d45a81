"""Ratios at equal accuracy, by hand."""

import math

import pytest

from admm_lib import equal_accuracy as equal


def record(nonzero, accuracies, dense=90.0, seeds=(100, 101)):
    runs = [
        {"seed": seed, "weights": 1000, "nonzero_weights": nonzero, "dense_test_accuracy": dense,
         "test_accuracy": accuracy,
         "ladder_bits": {"values": 4 * nonzero, "positions": 7 * nonzero, "codebooks": 8 * nonzero,
                         "file": 16 * nonzero}}
        for seed, accuracy in zip(seeds, accuracies, strict=True)
    ]  # fmt: skip
    return {"runs": runs}


ARM = [record(100, (89.0, 88.0)), record(500, (90.2, 89.9)), record(20, (85.0, 84.0))]


def test_curves_start_at_the_dense_network_and_rise_in_ratio():
    found = equal.curves(ARM)
    assert [ratio for ratio, _ in found[100]] == [1, 2, 10, 50]
    assert [lost for _, lost in found[101]] == pytest.approx([0, 0.1, 2, 6])


def test_between_points_the_logarithm_is_taken():
    curve = [(1.0, 0.0), (2.0, -0.2), (8.0, 1.0), (32.0, 3.0)]
    assert equal.ratio_at(curve, 1.0) == pytest.approx(8)
    assert equal.ratio_at(curve, 2.0) == pytest.approx(16)
    assert equal.ratio_at(curve, 0.4) == pytest.approx(4)
    assert math.isnan(equal.ratio_at(curve, 3.5))
    assert math.isnan(equal.ratio_at(curve[2:], 0.5))  # it has lost more where it begins
    assert equal.ratio_at(curve[2:], 1.0) == pytest.approx(8)
    assert equal.ratio_at([(2.0, 1.0), (4.0, 1.0)], 1.0) == pytest.approx(4)
    assert equal.ratio_at([(1.0, 0.0), (4.0, 2.0), (5.0, 0.5), (6.0, 2.0)], 1.0) == pytest.approx(2)  # first
    for wrong in (0, -1, math.nan):
        with pytest.raises(ValueError, match="points lost are above 0"):
            equal.ratio_at(curve, wrong)


def test_seeds_are_averaged_by_their_logarithm():
    found = equal.ratios(ARM, 1.0)
    each = [equal.ratio_at(curve, 1.0) for curve in equal.curves(ARM).values()]
    assert found.mean == pytest.approx(math.sqrt(each[0] * each[1]))
    assert found.low < min(each) < max(each) < found.high
    assert found.count == 2
    assert math.isnan(equal.ratios(ARM, 10.0).mean)


def test_the_advantage_is_paired():
    other = [record(400, (89.0, 88.0))]
    found = equal.advantage(ARM, other, 1.0)
    each = [
        equal.ratio_at(equal.curves(ARM)[seed], 1.0) / equal.ratio_at(equal.curves(other)[seed], 1.0)
        for seed in (100, 101)
    ]
    assert found.mean == pytest.approx(math.sqrt(each[0] * each[1]))
    same = equal.advantage(ARM, ARM, 1.0)
    assert (same.mean, same.low, same.high) == pytest.approx((1, 1, 1))
    single = equal.advantage([record(100, (88.0,), seeds=(1,))], [record(500, (88.0,), seeds=(1,))], 1.0)
    assert (single.low, single.high > 1e300) == (0, True)


def test_an_arm_may_be_measured_in_bits_and_begin_where_it_does():
    stored = equal.curves(ARM, equal.storage, from_dense=False)
    assert [ratio for ratio, _ in stored[100]] == [8, 40, 200]  # 32 bits of 1000 weights over 8 of each left
    whole = equal.curves(ARM, equal.file, from_dense=False)
    assert [ratio for ratio, _ in whole[100]] == [4, 20, 100]
    few = [equal.ratios(ARM, 3.0, measure, from_dense=False) for measure in (equal.storage, equal.weights)]
    assert few[0].mean == pytest.approx(4 * few[1].mean)
    half = [record(200, (89.0, 88.0))]
    found = equal.advantage(ARM, half, 1.0, equal.storage, from_dense=False)
    assert math.isnan(found.mean)  # a point alone is no curve
    pair = [*half, record(50, (85.0, 84.0))]
    found = equal.advantage(ARM, pair, 2.0, equal.storage, from_dense=False)
    each = [
        equal.ratio_at(equal.curves(ARM, from_dense=False)[seed], 2.0)
        / equal.ratio_at(equal.curves(pair, from_dense=False)[seed], 2.0)
        for seed in (100, 101)
    ]
    assert found.mean == pytest.approx(math.sqrt(each[0] * each[1]))  # all cost the same for each weight


def test_what_makes_no_curve_is_refused():
    with pytest.raises(ValueError, match="the same seeds"):
        equal.curves([])
    with pytest.raises(ValueError, match="the same seeds"):
        equal.curves([*ARM, record(10, (80.0, 80.0), seeds=(100, 102))])
    with pytest.raises(ValueError, match="seed 100: the records start from different dense networks"):
        equal.curves([*ARM, record(10, (80.0, 80.0), dense=91.0)])
    with pytest.raises(ValueError, match="different seeds"):
        equal.advantage(ARM, [record(10, (80.0, 80.0), seeds=(7, 8))], 1.0)
