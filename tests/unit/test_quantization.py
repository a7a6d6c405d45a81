"""The sets of few values: against exhaustive searches, and as properties; how they are held."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrize

import admm_lib as al
from admm_lib import holding, levels, parametrizations

SETS = [
    al.Clusters(1), al.Clusters(2, "linear"), al.Clusters(2, "forgy"), al.Levels(1), al.Levels(2),
    al.Levels(4), al.PowerOfTwo(1), al.PowerOfTwo(3), al.Ternary(), al.Binary(),
]  # fmt: skip
EXACT = [each for each in SETS if getattr(each, "init", "optimal") == "optimal"]
MAGNITUDES = st.lists(st.floats(0.01, 5), min_size=1, max_size=5)


def weights(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@given(MAGNITUDES, st.sampled_from([1, 2, 4]))
def test_the_best_step_is_that_of_all_assignments(magnitudes, count):
    m = np.sort(magnitudes)
    least = np.inf
    for labels in product(range(1, count + 1), repeat=len(m)):
        n = np.array(labels)
        least = min(least, ((m - n * (n @ m) / (n @ n)) ** 2).sum())
    q = levels.best_step(m, count)
    error = ((m - q * np.clip(np.ceil(m / q - 0.5), 1, count)) ** 2).sum()
    assert error == pytest.approx(least, abs=1e-9)


@pytest.mark.parametrize("count", [2, 8, 64])
def test_the_best_step_of_many_weights_is_as_good_as_trying_them_all(count, monkeypatch):
    m = np.sort(np.abs(weights(3000, dtype=torch.float64).numpy()))
    quick = levels.best_step(m, count)
    monkeypatch.setattr(levels, "EXACT", 10**9)
    assert quick == pytest.approx(levels.best_step(m, count), rel=1e-9)


@given(MAGNITUDES, st.sampled_from([1, 2, 4]))
def test_the_best_exponent_is_that_of_a_wide_search(magnitudes, count):
    m = np.sort(magnitudes)

    def error(top):
        powers = 2.0 ** np.arange(top - count + 1, top + 1)
        return (np.abs(m[:, None] - powers).min(1) ** 2).sum()

    assert error(levels.best_exponent(m, count)) == pytest.approx(min(map(error, range(-20, 20))), abs=1e-12)


@given(MAGNITUDES)
def test_the_best_ternary_is_that_of_all_choices_of_zeros(magnitudes):
    m = np.sort(magnitudes)
    least = (m**2).sum()
    for kept in product([False, True], repeat=len(m)):
        if any(kept):
            k = np.array(kept)
            least = min(least, ((m[k] - m[k].mean()) ** 2).sum() + (m[~k] ** 2).sum())
    a, keep = levels.best_ternary(m)
    ordered = np.sort(m)[::-1]
    assert ((ordered[:keep] - a) ** 2).sum() + (ordered[keep:] ** 2).sum() == pytest.approx(least, abs=1e-9)


@pytest.mark.parametrize("best", [lambda m: levels.best_step(m, 1), lambda m: levels.best_step(m, 4),
                                  lambda m: levels.best_exponent(m, 4), levels.best_ternary])  # fmt: skip
@pytest.mark.parametrize("m", [[0.2, 0.1], [0.1, float("nan")], [*range(1, 9_999), 1], [*range(1, 8_193), 1]])
def test_magnitudes_that_do_not_ascend_are_refused(best, m):
    with pytest.raises(ValueError, match="do not ascend: sort them first"):
        best(np.array(m, dtype=float))


def allowed(each, z):
    """Whether the values of one layer or channel are of the set."""
    values = set(z[z != 0].tolist())
    sizes = {abs(value) for value in values}
    if isinstance(each, al.Clusters):
        return len(values) <= 2**each.bits
    if isinstance(each, al.Levels):
        exact = [int(math.ldexp(size, 80)) for size in sizes]  # all are whole multiples of a step
        return not exact or max(exact) // math.gcd(*exact) <= 2 ** (each.bits - 1)
    if isinstance(each, al.PowerOfTwo):
        return all(np.frexp(size)[0] == 0.5 for size in sizes) and len(sizes) <= 2 ** (each.bits - 1)
    return len(sizes) <= 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("each", SETS, ids=repr)
def test_projections_are_feasible_and_idempotent_and_leave_zeros(each, dtype):
    for seed in range(5):
        weight = weights(6, 7, seed=seed, dtype=dtype)
        weight[weight.abs() < 0.3] = 0
        z = each.project(weight)
        assert (z.dtype, z.shape) == (weight.dtype, weight.shape)
        assert bool((z[weight == 0] == 0).all())
        assert isinstance(each, al.Ternary) or bool((z[weight != 0] != 0).all())
        assert allowed(each, z)
        assert torch.equal(each.project(z), z)


@pytest.mark.parametrize("each", EXACT, ids=repr)
@settings(max_examples=40)
@given(seed=st.integers(0, 999), other=st.integers(0, 999), scale=st.floats(0.2, 5))
def test_no_feasible_point_tried_is_nearer(each, seed, other, scale):
    weight = weights(8, seed=seed, dtype=torch.float64)
    z = each.project(weight)
    # 24 significant bits of the scale move levels by less than 1e-6.
    least = (weight - z).square().sum().item() * (1 - 1e-6) - 1e-9
    elsewhere = each.project(weights(8, seed=other, dtype=torch.float64) * scale)
    mixed = each.project(weight + 0.3 * weights(8, seed=other, dtype=torch.float64))
    relabelled = z.clone()
    relabelled[other % 8] = z[seed % 8]
    rescaled = z * (2 if isinstance(each, al.PowerOfTwo) else 1 + (scale - 1) / 100)
    for feasible in (elsewhere, mixed, relabelled, rescaled):
        assert (weight - feasible).square().sum().item() >= least


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["Levels", "PowerOfTwo", "Clusters"])
@pytest.mark.parametrize("bits", [1, 2, 3, 5, 6, 8])
def test_projecting_twice_changes_nothing_also_for_few_equal_small_and_large_weights(name, bits, dtype):
    each, largest = getattr(al, name)(bits), torch.finfo(dtype).max
    cases = [weights(n, seed=seed, dtype=dtype) for n in (1, 2, 3, 300) for seed in range(4)]
    cases += [torch.full((9,), 0.05, dtype=dtype), weights(30).to(dtype) * 1e-6]
    cases += [torch.tensor([0.6 * largest, largest, -largest], dtype=dtype)]
    for weight in cases:
        z = each.project(weight)
        assert bool(z.isfinite().all())
        assert name == "Clusters" or torch.equal(z == 0, weight == 0)
        assert torch.equal(each.project(z), z), weight


def test_many_weights_at_eight_bits_are_found_again():
    for each in (al.Levels(8), al.Levels(7), al.Clusters(8)):
        z = each.project(weights(20_000))
        assert torch.equal(each.project(z), z)


@pytest.mark.parametrize("bits", [6, 7, 8])
@pytest.mark.parametrize("seed", range(5))
def test_powers_of_two_far_apart_are_found_again(bits, seed):
    """The error in the least of them is lost beside the squares of the largest."""
    z = al.PowerOfTwo(bits).project(weights(2_000, seed=seed) ** 5)
    assert torch.equal(al.PowerOfTwo(bits).project(z), z)


def test_a_filter_of_one_weight_is_on_every_lattice():
    layer = nn.Conv2d(4, 30, 5)
    with torch.no_grad():
        layer.weight.view(30, -1)[:, 1:] = 0
    admm = al.ADMM(layer, {"weight": al.Levels(6, per="channel")})
    before = layer.weight.detach().clone()
    admm.finalize()
    assert torch.equal(layer.weight, before)


def test_the_seed_is_that_of_the_random_starts():
    weight = weights(300)
    one, other = (al.Clusters(3, "forgy", seed=seed).project(weight) for seed in (1, 2))
    assert not torch.equal(one, other)
    assert torch.equal(al.Clusters(3, "forgy", seed=1).project(weight), one)


def test_a_centroid_may_be_zero():
    z = al.Clusters(1).project(torch.tensor([-1.0, 1.0, 5.0, 5.0]))
    assert z.tolist() == [0, 0, 5, 5]


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_levels_are_equally_distant_and_none_is_zero(bits):
    z = al.Levels(bits).project(weights(400))
    sizes = z.abs().unique()
    assert len(sizes) == 2 ** (bits - 1)
    assert torch.allclose(sizes, sizes[0] * torch.arange(1, len(sizes) + 1))
    assert set(z.sign().tolist()) == {-1, 1}


@pytest.mark.parametrize("name", ["Clusters", "Levels", "PowerOfTwo"])
def test_a_channel_finds_its_own_values(name):
    weight = weights(3, 4, 5) * torch.tensor([1.0, 10.0, 100.0])[:, None, None]
    each = getattr(al, name)(2, per="channel")
    alone = getattr(al, name)(2)
    assert torch.equal(each.project(weight), torch.stack([alone.project(row) for row in weight]))
    assert not torch.equal(each.project(weight), alone.project(weight))
    with pytest.raises(ValueError, match=r"fc1.weight: per=\"channel\" needs"):
        each.check(torch.Size([12]), "fc1.weight")


@pytest.mark.parametrize("each", [*SETS, al.Binary("channel"), al.Clusters(2, per="channel")], ids=repr)
def test_edge_cases_are_defined(each):
    zeros = torch.zeros(2, 3)
    assert torch.equal(each.project(zeros), zeros)
    one = torch.tensor([[0.0, 0.5], [0.0, 0.0]])
    assert torch.equal(each.project(one), one)  # half is a power of two, and its own mean
    noncontiguous = weights(4, 3).T
    assert torch.equal(each.project(noncontiguous), each.project(noncontiguous.contiguous()))
    for bad in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="NaN or infinite"):
            each.project(torch.tensor([[1.0, bad]]))
    for held in (zeros, one, each.project(weights(2, 3))):
        layer = nn.Linear(held.shape[1], held.shape[0])
        holding.hold(layer, "weight", held, each.hold(held))
        assert torch.equal(layer.weight, held)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: al.Clusters(0), "bits is a whole number from 1 to 8, but is 0"),
        (lambda: al.Levels(2.5), "but is 2.5"),
        (lambda: al.Levels(9), "but is 9"),
        (lambda: al.PowerOfTwo(9), "from 1 to 8, but is 9"),
        (lambda: al.Clusters(2, "centre"), "unknown start init='centre': choose one of forgy"),
        (lambda: al.Clusters(2, "forgy", seed="x"), "seed is a whole number, but is 'x'"),
        (lambda: al.Clusters(2, iterations=-1), "iterations is a whole number, 0 or more, but is -1"),
        (lambda: al.Clusters(2, iterations=0.5), "iterations is a whole number, 0 or more, but is 0.5"),
        (lambda: al.Binary("row"), 'per must be "layer" or "channel", but is \'row\''),
    ],
)
def test_bad_sets_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("per", ["layer", "channel"])
def test_the_gradient_of_a_centroid_is_the_sum_over_its_weights(per):
    """dL/dC_k = sum_ij dL/dW_ij 1(I_ij = k), computed here by hand."""
    weight = al.Clusters(2).project(weights(5, 8))  # rows that share values
    weight[0, :3] = 0
    layer = nn.Linear(8, 5)
    holding.hold(layer, "weight", weight, parametrizations.Codebook(weight, per))
    inputs, targets = weights(20, 8, seed=1), weights(20, 5, seed=2)

    free = weight.clone().requires_grad_()
    nn.functional.mse_loss(nn.functional.linear(inputs, free, layer.bias), targets).backward()
    nn.functional.mse_loss(layer(inputs), targets).backward()
    held = layer.parametrizations.weight
    book, labels = held.original, held[0].labels
    rows = [weight] if per == "layer" else list(weight)
    assert len(book) == sum(len(row[row != 0].unique()) for row in rows)
    for k in range(len(book)):
        mine = (labels == k) & (weight != 0)
        assert book.grad[k].item() == pytest.approx(free.grad[mine].sum().item(), abs=1e-6)


@pytest.mark.parametrize("each", [al.Clusters(2), al.Binary(), al.Ternary(), al.Ternary("channel")], ids=repr)
def test_admm_then_training_keeps_the_pattern_and_moves_the_values(each):
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    batches = [(weights(32, 6, seed=3), torch.arange(32) % 3)]
    admm = al.ADMM(model, {"0.weight": each}, rho=0.1)
    al.fit(model, batches, 3, admm=admm, lr=0.01)
    admm.finalize()
    before = model[0].weight.detach().clone()
    assert torch.equal(each.project(before), before)
    al.fit(model, batches, 3, lr=0.01, schedule="constant")
    after = model[0].weight.detach()
    assert not torch.equal(after, before)
    assert torch.equal(after == 0, before == 0)
    for value in before.unique():
        if each.per == "layer":
            assert len(after[before == value].unique()) == 1
    al.bake(model)
    assert not parametrize.is_parametrized(model[0])
    assert torch.equal(model[0].weight, after)


def test_clusters_can_stop_on_the_way():
    weight = torch.randn(40, 50, generator=torch.Generator().manual_seed(0))
    errors = []
    for iterations in (0, 1, 5, 10_000):
        each = al.Clusters(3, "linear", iterations=iterations)
        clustered = each.project(weight)
        assert torch.equal(each.project(clustered), clustered)
        errors.append(float((weight - clustered).square().sum()))
    assert errors == sorted(errors, reverse=True)
    assert len(set(errors)) == 4
    assert torch.equal(clustered, al.Clusters(3, "linear").project(weight))


def test_pruned_weights_stay_pruned_under_clusters():
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    al.ADMM(model, {"0.weight": al.Sparse(keep=10)}).finalize()
    admm = al.ADMM(model, {"0.weight": al.Clusters(2)})
    al.fit(model, [(weights(32, 6, seed=3), torch.arange(32) % 3)], 2, admm=admm, lr=0.01)
    admm.finalize()
    assert int(model[0].weight.count_nonzero()) == 10
    assert len(model[0].weight[model[0].weight != 0].unique()) <= 4


@pytest.mark.parametrize("digits", [1, 3, 7])
def test_a_step_of_few_digits_is_near_the_free_one(digits):
    weight = torch.randn(400, generator=torch.Generator().manual_seed(digits)) * 0.03
    free, short = (al.Levels(3, digits=each).project(weight) for each in (24, digits))
    q, q_free = (float(each.abs().min()) for each in (short, free))
    mantissa = math.frexp(q)[0] * 2**digits
    assert mantissa == int(mantissa)
    assert abs(q - q_free) <= q_free * 2**-digits
    assert torch.equal(al.Levels(3, digits=digits).project(short), short)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_with_few_digits_projecting_twice_changes_nothing(digits, bits, size, seed):
    each = al.Levels(bits, digits=digits)
    weight = torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 3
    once = each.project(weight)
    assert torch.equal(each.project(once), once)
    q = torch.tensor(float(2**digits - 1), dtype=torch.float64)  # has the digits, and so have its multiples
    inside = q * torch.tensor([1.0, -(2.0 ** (bits - 1))], dtype=torch.float64)
    assert torch.equal(each.project(inside), inside)
    assert torch.equal(each.project(inside[1:]), inside[1:])


@pytest.mark.parametrize("digits", [0, 25, 7.0])
def test_digits_out_of_range_are_refused(digits):
    with pytest.raises(ValueError, match="digits is a whole number from 1 to 24"):
        al.Levels(3, digits=digits)
