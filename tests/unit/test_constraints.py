"""The sets: budgets, checks, and how each is held."""

from dataclasses import FrozenInstanceError
from fractions import Fraction
from math import floor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from admm_lib import Constraint, OneOf, Sparse, projections
from admm_lib.parametrizations import Constant, Mask

often = settings(max_examples=100, deadline=None, derandomize=True, database=None)


@pytest.mark.parametrize(
    ("numel", "ratio", "budget"),
    [
        (430_500, 71.2, 6046),  # LeNet-5, at most floor(N / R)
        (430_500, 167, 2577),
        (266_200, 22.9, 11_624),
        (10, 10 / 3, 3),
        (9, 9 / 7, 7),  # 9 / (9 / 7) is 6.999999999999999 in floating point
        (118_834_594, 118_834_594 / 116_139_933, 116_139_933),
        (9, 2.5, 3),
        (7, 1, 7),
        (7, 8, 0),
    ],
)
def test_ratio_means_at_most_that_many(numel, ratio, budget):
    assert Sparse(ratio=ratio).budget(numel) == budget


@often
@given(st.integers(1, 10**8), st.data())
def test_a_ratio_made_from_a_count_gives_the_count_back(numel, data):
    keep = data.draw(st.integers(1, numel))
    assert Sparse(ratio=numel / keep).budget(numel) == keep


@often
@given(st.integers(1, 10**6), st.fractions(1, 1000, max_denominator=100))
def test_budget_is_the_exact_floor(numel, ratio):
    assert Sparse(ratio=float(ratio)).budget(numel) == floor(Fraction(numel) / ratio)


def test_keep_is_the_budget_whatever_the_layer():
    assert Sparse(keep=5).budget(10) == Sparse(keep=5).budget(1000) == 5
    assert Sparse(keep=0).budget(10) == 0


@pytest.mark.parametrize("wrong", [{}, {"keep": 3, "ratio": 2.0}])
def test_keep_or_ratio_but_not_both(wrong):
    with pytest.raises(ValueError, match=r"give either keep= .* or ratio="):
        Sparse(**wrong)


@pytest.mark.parametrize("keep", [-1, 2.5, float("nan"), float("inf"), "12"])
def test_keep_must_be_a_count(keep):
    with pytest.raises(ValueError, match=r"keep is a count, 0 or more, but is"):
        Sparse(keep=keep)


@pytest.mark.parametrize("ratio", [0.99, 0, -3, float("nan"), float("inf"), "12"])
def test_ratio_must_be_one_or_more(ratio):
    with pytest.raises(ValueError, match=r"ratio is weights per nonzero weight, 1 or more, but is"):
        Sparse(ratio=ratio)


def test_unknown_view():
    with pytest.raises(ValueError, match="unknown view by='row'"):
        Sparse(keep=3, by="row")


def test_check_names_the_layer_and_the_remedy():
    Sparse(keep=10).check(torch.Size([10]), "fc1.weight")
    Sparse(ratio=100).check(torch.Size([10]), "fc1.weight")
    OneOf((0.0,)).check(torch.Size([10]), "fc1.weight")
    with pytest.raises(ValueError, match=r"^fc1\.weight: keep=11 is more than its 10 weights"):
        Sparse(keep=11).check(torch.Size([10]), "fc1.weight")
    with pytest.raises(ValueError, match=r"^conv1\.weight: keep=21 is more than its 20 filters; lower it"):
        Sparse(keep=21, by="filter").check(torch.Size([20, 1, 5, 5]), "conv1.weight")
    with pytest.raises(ValueError, match=r"^a \+ b: by='filter' needs the weight of one layer"):
        Sparse(keep=3, by="filter").check(torch.Size([100]), "a + b")


def test_sets_are_values():
    assert Sparse(keep=3) == Sparse(keep=3) != Sparse(keep=4)
    assert len({Sparse(ratio=2), Sparse(ratio=2), OneOf((1.0,)), OneOf((1.0,))}) == 2
    with pytest.raises(FrozenInstanceError):
        Sparse(keep=3).keep = 4
    for each in (Sparse(keep=3), Sparse(ratio=2.5), Sparse(ratio=167), OneOf((1.0, -1.0))):
        assert eval(repr(each)) == each
        assert isinstance(each, Constraint)


def test_a_set_reads_as_it_is_written():
    assert repr(Sparse(keep=3)) == "Sparse(keep=3)"
    assert repr(Sparse(ratio=71.2)) == "Sparse(ratio=71.2)"


def test_sparse_projects_and_holds():
    weight = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    nearest = Sparse(ratio=4).project(weight)
    assert torch.equal(nearest, projections.top_k(weight, 5))
    held = Sparse(ratio=4).hold(nearest)
    assert isinstance(held, Mask)
    assert torch.equal(held.mask, nearest != 0)


def test_one_of_projects_and_holds():
    weight = torch.tensor([0.2, 0.9, -3.0])
    nearest = OneOf((1.0, -1.0, 0.0)).project(weight)
    assert nearest.tolist() == [0, 1, -1]
    held = OneOf((1.0, -1.0, 0.0)).hold(nearest)
    assert isinstance(held, Constant)
    assert held(torch.zeros(3)).tolist() == [0, 1, -1]


def test_levels_are_exact_in_double_precision():
    assert OneOf((0.1, 0.7)).project(torch.zeros(1, dtype=torch.float64)).item() == 0.1


@pytest.mark.parametrize("levels", [(), (1.0, float("nan")), (float("inf"),)])
def test_levels_must_be_finite(levels):
    with pytest.raises(ValueError, match="levels must hold at least one value, and only finite"):
        OneOf(levels)
