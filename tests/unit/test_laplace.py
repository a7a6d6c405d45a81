"""The closed forms of Laplace-distributed weights, against numerical integrals, draws and other solutions."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, optimize

from admm_lib import laplace
from admm_lib.laplace import ERRORS, Fit

TAUS = st.floats(1e-3, 10)
BETAS = st.floats(1e-3, 20)  # in units of tau


@given(TAUS, BETAS)
def test_share_and_error_are_the_integrals(tau, times):
    beta = times * tau

    def density(w):
        return math.exp(-w / tau) / tau  # of |w|

    share, _ = integrate.quad(density, 0, beta, epsabs=0, epsrel=1e-10)
    error, _ = integrate.quad(lambda w: w * w * density(w), 0, beta, epsabs=0, epsrel=1e-10)
    assert laplace.pruned_share(beta, tau) == pytest.approx(share, rel=1e-8)
    assert laplace.pruning_error(beta, tau) == pytest.approx(error, rel=1e-6)


@pytest.mark.parametrize("times", [1e-3, 5e-3, 0.00999, 0.0101])
def test_the_error_is_right_on_both_sides_of_the_change_of_formula(times):
    error, _ = integrate.quad(lambda w: w * w * math.exp(-w), 0, times, epsabs=0, epsrel=1e-12)
    assert laplace.pruning_error(times, 1.0) == pytest.approx(error, rel=3e-7)


def test_share_and_error_are_what_draws_have():
    weights = np.random.default_rng(0).laplace(scale=0.3, size=2_000_000)
    for beta in (0.05, 0.3, 1.5):
        cut = weights[np.abs(weights) < beta]
        assert laplace.pruned_share(beta, 0.3) == pytest.approx(len(cut) / len(weights), abs=2e-3)
        found = np.square(cut).sum() / len(weights)
        assert laplace.pruning_error(beta, 0.3) == pytest.approx(found, rel=0.02)


def test_the_fit_has_the_largest_likelihood_and_tells_when_it_is_none():
    generator = np.random.default_rng(1)
    drawn = torch.from_numpy(generator.laplace(scale=0.2, size=(300, 400)))
    found = laplace.fit(drawn)
    magnitudes = drawn.abs().numpy()
    assert found == Fit(120_000, pytest.approx(0.2, rel=0.01), magnitudes.max())
    assert laplace.distance(drawn, found) < 0.005

    def unlikely(tau):
        return (magnitudes / tau + math.log(2 * tau)).sum()

    assert optimize.minimize_scalar(unlikely, bounds=(0.01, 1)).x == pytest.approx(found.tau, rel=1e-4)
    normal = torch.from_numpy(generator.normal(size=120_000))
    assert laplace.distance(normal, laplace.fit(normal)) > 0.05
    few = torch.tensor([0.0, -2.0, 0.0, 2.0])
    assert laplace.fit(few) == Fit(2, 2.0, 2.0)
    assert laplace.distance(few, laplace.fit(few)) == pytest.approx(1 - math.exp(-1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_the_fit_of_a_large_layer_is_as_exact_as_its_numbers(dtype):
    weight = torch.randn(3_000_001, generator=torch.Generator().manual_seed(0)).mul(0.02).to(dtype)
    magnitudes = weight.double().abs()
    count = int(magnitudes.count_nonzero())
    expected = Fit(count, pytest.approx(magnitudes.sum().item() / count, rel=1e-6), magnitudes.max().item())
    assert laplace.fit(weight) == expected


def test_the_distance_is_that_of_kolmogorov_and_smirnov():
    from scipy import stats

    weight = torch.randn(500, generator=torch.Generator().manual_seed(0))
    found = laplace.fit(weight)
    expected = stats.kstest(weight.abs().numpy(), "expon", args=(0, found.tau)).statistic
    assert laplace.distance(weight, found) == pytest.approx(expected, abs=1e-6)


@given(TAUS, st.floats(0.0101, 20))
def test_the_quantization_error_is_the_integral_over_a_cell(tau, times):
    step = times * tau
    inside, _ = integrate.quad(
        lambda w: (w - step / 2) ** 2 * math.exp(-w / tau) / tau, 0, step, epsabs=0, epsrel=1e-10
    )
    share = -math.expm1(-step / tau)
    assert laplace.quantization_error(step, tau) == pytest.approx(inside / share, rel=1e-5)
    assert laplace.quantization_error(tau / 1000, tau) == pytest.approx((tau / 1000) ** 2 / 12, rel=1e-6)


def test_labels_and_positions_take_the_bits_that_draws_have():
    tau, beta, step = 0.3, 0.9, 0.2
    weights = np.random.default_rng(2).laplace(scale=tau, size=4_000_000)
    kept = weights[np.abs(weights) >= beta]
    cells = np.floor((np.abs(kept) - beta) / step).astype(int)
    middles = np.copysign(beta + (cells + 0.5) * step, kept)
    error = np.square(kept - middles).mean()
    assert laplace.quantization_error(step, tau) == pytest.approx(error, rel=0.01)
    for width in (0.2, 0.5, 0.9, 2.0):
        labels = np.clip(np.ceil(np.abs(kept) / width - 0.5), 1, 8)
        shares = np.unique(np.copysign(labels, kept), return_counts=True)[1] / len(kept)
        entropy = -(shares * np.log2(shares)).sum()
        assert laplace.label_bits(beta, width, 8, tau) == pytest.approx(entropy, rel=0.005)
    share = len(kept) / len(weights)
    entropy = -share * math.log2(share) - (1 - share) * math.log2(1 - share)
    assert laplace.position_bits(beta, tau) == pytest.approx(entropy, rel=0.01)


def test_bits_at_the_ends():
    assert laplace.label_bits(1.0, 100.0, 4, 1.0) == pytest.approx(1)  # one level: the sign is left
    fine = laplace.label_bits(1.0, 0.001, 100_000, 1.0)  # 1 + log2(e tau / step), the differential entropy
    assert fine == pytest.approx(1 + math.log2(math.e * 1000), abs=1e-3)
    assert laplace.position_bits(0.0, 1.0) == 0
    assert laplace.position_bits(math.log(2), 1.0) == pytest.approx(1)


FITS = {"a": Fit(500, 0.1, 0.6), "b": Fit(25_000, 0.02, 0.2), "c": Fit(4_000, 0.5, 4.0)}


def objective(betas, error):
    """What the weighting minimizes, by its words."""
    total = 0.0
    for beta, each in zip(betas, FITS.values(), strict=True):
        mean = laplace.pruning_error(beta, each.tau)
        share = mean / (2 * each.tau**2)
        if error == "remaining":
            total -= math.log1p(-share) if share < 1 else -math.inf
        else:
            total += {"weight": each.count * mean, "layer": mean, "relative": share}[error]
    return total


def left(betas):
    pairs = zip(betas, FITS.values(), strict=True)
    return sum(each.count * math.exp(-beta / each.tau) for beta, each in pairs)


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("sparsity", [0.3, 0.9, 0.99])
def test_no_other_thresholds_of_that_sparsity_have_less_error(error, sparsity):
    found = laplace.thresholds(FITS, sparsity, error)
    assert list(found) == list(FITS)
    betas, count = list(found.values()), 29_500
    assert left(betas) == pytest.approx((1 - sparsity) * count, rel=1e-9)
    best = objective(betas, error)
    generator = np.random.default_rng(0)
    for _ in range(300):  # move two layers along the constraint, and the third to where it is met
        tried = [beta * math.exp(generator.normal(scale=0.3)) for beta in betas]
        for index, each in enumerate(FITS.values()):
            others = left(tried) - each.count * math.exp(-tried[index] / each.tau)
            share = ((1 - sparsity) * count - others) / each.count
            if 0 < share < 1:
                other = [*tried[:index], -each.tau * math.log(share), *tried[index + 1 :]]
                assert objective(other, error) >= best * (1 - 1e-9)


def test_weightings_differ_as_their_words_say():
    one = laplace.thresholds(FITS, 0.9, "weight")
    assert len({round(beta, 12) for beta in one.values()}) == 1
    layer = laplace.thresholds(FITS, 0.9, "layer")
    assert layer["b"] / layer["a"] == pytest.approx(math.sqrt(25_000 / 500))
    relative = laplace.thresholds(FITS, 0.9, "relative")
    shares = {name: beta / FITS[name].tau for name, beta in relative.items()}
    assert shares["b"] / shares["c"] == pytest.approx(math.sqrt(25_000 / 4_000))
    sizes = {name: Fit(each.count, 1.0, 1.0) for name, each in FITS.items()}
    remaining, alike = (laplace.thresholds(each, 0.9, "remaining") for each in (FITS, sizes))
    for name, beta in remaining.items():  # how much stays does not depend on tau
        assert beta / FITS[name].tau == pytest.approx(alike[name], rel=1e-9)


def spent(found, kept):
    """Bits of all kept weights, where 2 R / step levels reach the largest."""
    return sum(count * math.log2(2 * FITS[name].largest / found[name]) for name, count in kept.items())


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("bits", [1.5, 3, 6.2])
def test_no_other_steps_of_that_many_bits_have_less_error(error, bits):
    betas = laplace.thresholds(FITS, 0.9, error)
    found = laplace.steps(FITS, betas, bits, error)
    kept = {name: each.count * math.exp(-betas[name] / each.tau) for name, each in FITS.items()}
    assert spent(found, kept) == pytest.approx(bits * sum(kept.values()), rel=1e-9)

    def mistaken(steps):
        total = 0.0
        for name, each in FITS.items():
            mean = kept[name] / each.count * steps[name] ** 2 / 12
            square, beta = 2 * each.tau**2, betas[name]
            left = (beta**2 + 2 * beta * each.tau + square) * math.exp(-beta / each.tau)
            weighting = {"weight": each.count, "layer": 1, "relative": 1 / square, "remaining": 1 / left}
            total += mean * weighting[error]
        return total

    best, generator = mistaken(found), np.random.default_rng(0)
    tried = 0
    for _ in range(300):
        other = {name: step * math.exp(generator.normal(scale=0.2)) for name, step in found.items()}
        for name in FITS:  # brought back to the same bits by one layer
            more = (spent(other, kept) - bits * sum(kept.values())) / kept[name]
            moved = {**other, name: other[name] * 2 ** min(more, 99)}
            if all(FITS[n].largest / 128 <= step <= FITS[n].largest for n, step in moved.items()):
                tried += 1
                assert mistaken(moved) >= best * (1 - 1e-9)
    assert tried > 30


def test_steps_follow_thresholds_and_widths_follow_steps():
    for error in ERRORS:
        betas = laplace.thresholds(FITS, 0.9, error)
        found = laplace.steps(FITS, betas, 6, error)
        inside = [n for n in FITS if FITS[n].largest / 128 * 1.001 < found[n] < FITS[n].largest * 0.999]
        ratios = {name: found[name] / betas[name] for name in inside}
        assert len(ratios) == (2 if error == "layer" else 3)
        assert max(ratios.values()) == pytest.approx(min(ratios.values()), rel=1e-9)
    reached = {"a": 0.6, "b": 0.2 / 3.9, "c": 4.0 / 4.1}  # 1, 4 and 5 levels each way
    assert laplace.widths(FITS, reached) == {"a": 1, "b": 3, "c": 4}
    assert laplace.widths(FITS, {"a": 1e-6, "b": 0.4, "c": 2.0}) == {"a": 8, "b": 1, "c": 2}
    for bits in (1, 8):
        ends = laplace.steps(FITS, betas, bits)
        assert ends == pytest.approx({name: each.largest / 2 ** (bits - 1) for name, each in FITS.items()})
    thin = {"thin": Fit(1000, 1e-4, 1e-3), "wide": Fit(1000, 1.0, 8.0)}  # nothing is left of the one
    gone = laplace.thresholds(thin, 0.7, "weight")
    assert laplace.steps(thin, gone, 3, "weight")["wide"] == pytest.approx(2.0, rel=1e-6)


@pytest.mark.parametrize("sparsity", [0, 1, -0.5, math.nan])
def test_wrong_input_is_named(sparsity):
    with pytest.raises(ValueError, match="sparsity is a share above 0 and below 1"):
        laplace.thresholds(FITS, sparsity)
    with pytest.raises(ValueError, match="error must be one of weight, layer, relative"):
        laplace.thresholds(FITS, 0.5, "each")
    with pytest.raises(ValueError, match="no layer"):
        laplace.thresholds({}, 0.5)
    with pytest.raises(ValueError, match="bits are from 1, the sign, to 8"):
        laplace.steps(FITS, dict.fromkeys(FITS, 0.1), 0.5)
    for weight in (torch.zeros(3), torch.tensor([1.0, math.nan]), torch.tensor([1.0, math.inf])):
        with pytest.raises(ValueError, match="nonzero weights, and finite ones"):
            laplace.fit(weight)
