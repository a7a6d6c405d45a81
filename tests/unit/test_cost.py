"""Multiply-accumulates, bits of positions, and the model of energy."""

import math

import pytest
import torch
from torch import nn

import admm_lib as al
from admm_lib import cost


def test_the_work_of_lenet5_is_known():
    model = al.models.create("lenet5", 0)
    images = torch.zeros(3, 1, 28, 28)
    dense = {"conv1": 288_000, "conv2": 1_600_000, "fc1": 400_000, "fc2": 5_000}
    found = cost.work(model, images)
    assert {each.name: each.macs for each in found} == dense
    assert all(each.macs == each.nonzero_macs for each in found)
    al.ADMM(model, {"conv2.weight": al.Sparse(keep=1000), "fc2.weight": al.Sparse(keep=7)}).finalize()
    few = {each.name: each.nonzero_macs for each in cost.work(model, images)}
    assert few == {"conv1": 288_000, "conv2": 64_000, "fc1": 400_000, "fc2": 7}
    assert model.training


def test_the_work_of_resnet20_is_known():
    images = torch.zeros(1, 3, 32, 32)
    total = sum(each.macs for each in cost.work(al.models.create("resnet20", 0), images))
    blocks = 2304 * 6 * 1024 + (4608 + 9216 * 5) * 256 + (18432 + 36864 * 5) * 64
    assert total == 432 * 1024 + blocks + 512 * 256 + 2048 * 64 + 640


def test_a_layer_that_runs_twice_works_twice_and_groups_save_work():
    shared = nn.Linear(3, 3, bias=False)
    assert [each.macs for each in cost.work(nn.Sequential(shared, shared), torch.zeros(2, 3))] == [9, 9]
    assert [each.macs for each in cost.work(shared, torch.zeros(2, 5, 3))] == [45]
    (found,) = cost.work(nn.Conv1d(4, 4, 3, groups=2), torch.zeros(1, 4, 8))
    assert found.macs == 6 * 24


@pytest.mark.parametrize(
    ("layer", "images", "macs"),
    [(nn.ConvTranspose2d(1, 1, 2, stride=2), (2, 1, 4, 4), 64),
     (nn.ConvTranspose2d(6, 4, 3, stride=2, groups=2), (1, 6, 5, 5), 25 * 6 * 2 * 9),
     (nn.ConvTranspose1d(2, 3, 4), (1, 2, 7), 7 * 2 * 3 * 4)],
)  # fmt: skip
def test_a_transposed_convolution_spreads_each_place_of_its_input(layer, images, macs):
    (found,) = cost.work(layer, torch.zeros(images))
    assert found.macs == macs


@pytest.mark.parametrize("density", [0.5, 0.1, 0.003])
def test_positions_take_the_entropy_of_the_mask(density):
    n = 10_000_000
    k = round(density * n)
    exact = (math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)) / math.log(2) / k
    assert cost.entropy(density) == pytest.approx(exact, rel=1e-3)


def test_the_ends_of_the_entropy():
    assert cost.entropy(1) == 0
    assert cost.entropy(0.5) == 2
    for wrong in (0, -0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="density is a share above 0, at most 1"):
            cost.entropy(wrong)


def test_at_break_even_both_take_the_same():
    weights, structured, b, index = 1e6, 4.0, 3, 5
    bits = weights / structured * b
    sparse = structured * cost.break_even(b, index)
    assert weights / sparse * (b + index) == pytest.approx(bits)
    for wrong in ((0, 1), (1, -1), (math.nan, 1)):
        with pytest.raises(ValueError, match="bits are above 0"):
            cost.break_even(*wrong)


def test_energy_is_reading_and_computing():
    assert cost.energy(32, 0) == pytest.approx(640e-6)
    assert cost.energy(0, 1) == pytest.approx(4.6e-6)
    assert cost.energy(64, 10) == pytest.approx((1280 + 46) / 1e6)


def test_positions_are_counted_by_groups():
    weight = torch.zeros(4, 3, 2, 2)
    weight[1], weight[3, :, 0, 0] = 1.0, 2.0
    assert cost.positions(weight) == pytest.approx(math.log2(math.comb(48, 15)))
    assert cost.positions(weight, "filter") == pytest.approx(math.log2(math.comb(4, 2)))
    assert cost.positions(weight, "kernel") == pytest.approx(math.log2(math.comb(12, 6)))
    assert cost.positions(weight, "block", (2, 6)) == pytest.approx(math.log2(math.comb(4, 4)))
    assert cost.positions(torch.zeros(5, 5)) == cost.positions(torch.ones(5, 5)) == 0
    pairs = al.Sparse(keep=1, by="n:m", group=4).project(torch.arange(1.0, 25).reshape(2, 12))
    assert cost.positions(pairs, "n:m", 4) == pytest.approx(6 * math.log2(4))
    edge = al.Sparse(keep=1, by="n:m", group=4).project(torch.arange(1.0, 22).reshape(3, 7))
    assert cost.positions(edge, "n:m", 4) == pytest.approx(3 * (math.log2(4) + math.log2(3)))
    for by, group in (("block", None), ("block", (2,)), ("n:m", None), ("element", 3)):
        with pytest.raises(ValueError, match="group"):
            cost.positions(weight, by, group)
    with pytest.raises(ValueError, match="unknown view"):
        cost.positions(weight, "pixel")
