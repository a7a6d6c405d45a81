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
    assert (found.count, found.tau) == (120_000, pytest.approx(0.2, rel=0.01))
    assert found.distance < 0.005
    magnitudes = drawn.abs().numpy()

    def unlikely(tau):
        return (magnitudes / tau + math.log(2 * tau)).sum()

    assert optimize.minimize_scalar(unlikely, bounds=(0.01, 1)).x == pytest.approx(found.tau, rel=1e-4)
    assert laplace.fit(torch.from_numpy(generator.normal(size=120_000))).distance > 0.05
    assert laplace.fit(torch.tensor([0.0, -2.0, 0.0, 2.0])) == Fit(2, 2.0, pytest.approx(1 - math.exp(-1)))


def test_the_distance_is_that_of_kolmogorov_and_smirnov():
    from scipy import stats

    weight = torch.randn(500, generator=torch.Generator().manual_seed(0))
    found = laplace.fit(weight)
    expected = stats.kstest(weight.abs().numpy(), "expon", args=(0, found.tau)).statistic
    assert found.distance == pytest.approx(expected, abs=1e-6)


FITS = {"a": Fit(500, 0.1, 0.0), "b": Fit(25_000, 0.02, 0.0), "c": Fit(4_000, 0.5, 0.0)}


def objective(betas, error):
    """What the weighting minimizes, by its words."""
    total = 0.0
    for beta, each in zip(betas, FITS.values(), strict=True):
        mean = laplace.pruning_error(beta, each.tau)
        total += {"weight": each.count * mean, "layer": mean, "relative": mean / (2 * each.tau**2)}[error]
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
    relative = laplace.thresholds(FITS, 0.9)
    shares = {name: beta / FITS[name].tau for name, beta in relative.items()}
    assert shares["b"] / shares["c"] == pytest.approx(math.sqrt(25_000 / 4_000))


@pytest.mark.parametrize("sparsity", [0, 1, -0.5, math.nan])
def test_wrong_input_is_named(sparsity):
    with pytest.raises(ValueError, match="sparsity is a share above 0 and below 1"):
        laplace.thresholds(FITS, sparsity)
    with pytest.raises(ValueError, match="error must be one of weight, layer, relative"):
        laplace.thresholds(FITS, 0.5, "each")
    with pytest.raises(ValueError, match="no layer"):
        laplace.thresholds({}, 0.5)
    for weight in (torch.zeros(3), torch.tensor([1.0, math.nan]), torch.tensor([1.0, math.inf])):
        with pytest.raises(ValueError, match="nonzero weights, and finite ones"):
            laplace.fit(weight)
