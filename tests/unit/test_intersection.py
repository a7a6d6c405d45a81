"""Few weights and few values at once: against every support on tiny inputs, and as properties."""

from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import admm_lib as al
from admm_lib.parametrizations import Codebook, Scaled

often = settings(max_examples=60, deadline=None, derandomize=True, database=None)
FEW = [
    al.Levels(1), al.Levels(2), al.Levels(3), al.Clusters(1), al.Clusters(2), al.Binary(), al.PowerOfTwo(2),
    al.Ternary(), al.Levels(4, digits=3),
]  # fmt: skip


EXACT = [each for each in FEW if getattr(each, "digits", 24) == 24]  # rounded, the nearest q is not kept


def squared(a, b):
    return float((a - b).double().square().sum())


@often
@given(st.sampled_from(EXACT), st.integers(1, 7), st.integers(0, 7), st.integers(0, 2**32 - 1))
def test_no_choice_of_support_is_nearer(few, size, keep, seed):
    weight = torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2
    keep = min(keep, size)
    found = al.Both(al.Sparse(keep=keep), few).project(weight)
    assert int(found.count_nonzero()) <= keep
    for count in range(keep + 1):
        for support in combinations(range(size), count):
            tried = torch.zeros_like(weight)
            tried[list(support)] = weight[list(support)]
            assert squared(weight, found) <= squared(weight, few.project(tried)) + 1e-9


@often
@given(st.sampled_from(FEW), st.sampled_from(["element", "filter", "column"]), st.integers(0, 2**32 - 1))
def test_it_is_feasible_idempotent_and_no_farther_than_one_after_the_other(few, by, seed):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(12, 15, generator=generator) * torch.rand(12, 15, generator=generator)
    sparse = al.Sparse(ratio=3, by=by)
    both = al.Both(sparse, few)
    found = both.project(weight)
    assert torch.equal(sparse.project(found), found)
    assert torch.equal(both.project(found), found)
    assert torch.equal(few.project(found), found)
    assert squared(weight, found) <= squared(weight, few.project(sparse.project(weight))) + 1e-6


def test_a_weight_too_small_for_any_level_is_left_out():
    weight = torch.tensor([4.0, -4.0, 0.5, 0.1])
    assert al.Both(al.Sparse(keep=3), al.Binary()).project(weight).tolist() == [4, -4, 0, 0]


def test_fewer_weights_than_the_budget_are_all_kept():
    weight = torch.tensor([0.0, 2.0, 0.0, -2.0, 0.0, 2.1])
    assert al.Both(al.Sparse(keep=5), al.Binary()).project(weight).count_nonzero() == 3
    assert not al.Both(al.Sparse(keep=5), al.Binary()).project(torch.zeros(6)).any()


@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e25])
def test_neither_small_nor_large_weights_change_the_choice(scale):
    weight = torch.tensor([4, -4, 0.5, 0.1, *[3.9] * 20, *[0.4] * 20]) * scale
    assert int(al.Both(al.Sparse(keep=30), al.Binary()).project(weight).count_nonzero()) == 22


@pytest.mark.parametrize("size", [1, 2, 3])
def test_few_weights_with_a_rounded_step_stay_where_they_are(size):
    both = al.Both(al.Sparse(keep=1), al.Levels(4, digits=3))
    for seed in range(50):
        once = both.project(torch.randn(size, generator=torch.Generator().manual_seed(seed)))
        assert torch.equal(both.project(once), once)


def test_nan_is_refused():
    with pytest.raises(ValueError, match="NaN or infinite"):
        al.Both(al.Sparse(keep=2), al.Binary()).project(torch.tensor([1.0, float("nan"), 2.0]))


def test_in_admm_it_prunes_and_quantizes():
    model = al.models.create("lenet300", seed=0)
    sets = {"fc1.weight": al.Both(al.Sparse(keep=500), al.Levels(2)), "fc2.weight": al.Levels(2)}
    admm = al.ADMM(model, sets)
    admm.update()
    admm.finalize()
    assert int(model.fc1.weight.count_nonzero()) == 500
    assert len(model.fc1.weight.unique()) <= 5
    assert len(model.fc2.weight.unique()) <= 4


def test_it_is_held_as_its_values_are():
    weight = torch.tensor([[1.0, 0.0], [-1.0, 1.0]])
    assert isinstance(al.Both(al.Sparse(3), al.Clusters(1)).hold(weight), Codebook)
    assert isinstance(al.Both(al.Sparse(3), al.Binary()).hold(weight), Scaled)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: al.Both(al.Levels(2), al.Sparse(3)), "takes a Sparse, then a set of few values"),
        (lambda: al.Both(al.Sparse(3), "x"), "takes a Sparse, then a set of few values"),
        (lambda: al.Both(al.Sparse(3), al.Levels), "takes a Sparse, then a set of few values"),
        (lambda: al.Both(al.Sparse(3), al.Sparse(4)), "takes a Sparse, then a set of few values"),
        (lambda: al.Both(al.Sparse(3), al.OneOf((-1.0, 0.5))), "moves zeros"),
        (lambda: al.Both(al.Sparse(3), al.Levels(2, per="channel")), "values per layer"),
        (lambda: al.Both(al.Sparse(9), al.Levels(2)).check(torch.Size([2, 2]), "w"), "w: keep=9 is more"),
    ],
)
def test_what_makes_no_sense_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_fewer_weights_than_allowed_may_be_nearer():
    """From three weights the rounds end at 2.94: one large weight alone is nearer."""
    weight = torch.tensor([-0.581, -3.2111, 1.2645, -0.6874, 0.4811], dtype=torch.float64)
    found = al.Both(al.Sparse(keep=3), al.Binary()).project(weight)
    assert squared(weight, found) < 2.65
