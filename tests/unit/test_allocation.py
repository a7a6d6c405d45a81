"""`suggest`: exact totals, spared ends, nothing above a layer's size."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import admm_lib as al
from admm_lib import allocation, laplace
from admm_lib.allocation.rules import _fill

LENET5 = al.models.lenet5()


@pytest.mark.parametrize("ratio", [1, 1.5, 5, 20, 71.2, 167, 10_000])
def test_the_total_is_exact_and_no_layer_is_overfull(ratio):
    model = al.models.lenet5()
    sets = al.suggest(model, ratio)
    assert sum(each.keep for each in sets.values()) == int(430_500 / ratio)
    assert all(each.keep <= model.get_parameter(name).numel() for name, each in sets.items())


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=6), st.data())
def test_fill_is_exact_for_any_sizes(numbers, data):
    sizes = {f"layer{i}": n for i, n in enumerate(numbers)}
    total = data.draw(st.integers(0, sum(numbers)))
    keep = _fill(total, {name: n**0.5 for name, n in sizes.items()}, sizes)
    assert sum(keep.values()) == total
    assert all(0 <= keep[name] <= sizes[name] for name in sizes)


def test_first_and_last_layer_are_spared_and_norms_left_out():
    model = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.Linear(64, 64), nn.Linear(64, 64))
    sets = al.suggest(model, 10)
    assert list(sets) == ["0.weight", "2.weight", "3.weight"]
    assert sets["0.weight"].keep == sets["3.weight"].keep == 491  # twice the middle's share, rounded
    assert sets["2.weight"].keep == 246


def test_a_layer_on_its_own_is_named_as_its_parameter_is():
    assert al.suggest(nn.Linear(10, 10), 10)["weight"].keep == 10


def test_errors_name_the_problem():
    with pytest.raises(ValueError, match="no linear or convolution layer"):
        al.suggest(nn.BatchNorm1d(3))
    with pytest.raises(ValueError, match="ratio is weights per nonzero weight, 1 or more"):
        al.suggest(nn.Linear(2, 2), 0.5)


def two_layers(first, second):
    """A network of two linear layers with the given weights."""
    layers = [nn.Linear(len(values), 1) for values in (first, second)]
    for layer, values in zip(layers, (first, second), strict=True):
        layer.weight.data = torch.tensor([values])
    return nn.Sequential(*layers)


def test_uniform_gives_every_layer_the_same_ratio():
    model = al.models.lenet5()
    for ratio in (1, 7.3, 71.2, 167, 400):
        sets = allocation.uniform(model, ratio)
        assert sum(each.keep for each in sets.values()) == int(430_500 / ratio)
        for name, each in sets.items():
            assert abs(each.keep - model.get_parameter(name).numel() / ratio) < 2


def test_by_magnitude_sets_one_threshold():
    sets = allocation.by_magnitude(two_layers([5.0, -4, 3, 0.1], [0.2, -6, 0.3, 0.4]), 2)
    assert {name: each.keep for name, each in sets.items()} == {"0.weight": 3, "1.weight": 1}


@given(st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=12))
def test_lamp_scores_are_their_definition(values):
    weight = torch.tensor(values)
    scores = allocation.lamp_scores(weight)
    order = sorted(range(len(values)), key=lambda i: (abs(values[i]), i))  # ties: the lower index first
    for position, u in enumerate(order):
        left = sum(values[v] ** 2 for v in order[position:])
        assert scores[u].item() == pytest.approx(values[u] ** 2 / left if left > 1e-300 else 0, rel=1e-9)


def test_lamp_keeps_the_last_of_every_layer_and_does_not_see_scale():
    """The largest weight of a layer scores 1: no layer is emptied before all are down to one."""
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(20, generator=generator).tolist() for _ in range(2))
    sets = allocation.by_lamp(two_layers(first, [w / 1000 for w in second]), 20)
    assert {each.keep for each in sets.values()} == {1}
    counts = [
        [each.keep for each in allocation.by_lamp(two_layers(first, [w * scale for w in second]), 4).values()]
        for scale in (1, 1000)
    ]
    assert counts[0] == counts[1]
    assert sum(counts[0]) == 10
    with pytest.raises(ValueError, match=r"would leave 1\.weight without a weight"):
        allocation.by_magnitude(two_layers(first, [w / 1000 for w in second]), 20)


@pytest.mark.parametrize("rule", [allocation.by_magnitude, allocation.by_lamp])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_have_no_rank(rule, bad):
    with pytest.raises(ValueError, match=r"^1\.weight holds NaN or infinite weights"):
        rule(two_layers([1.0, 2, 3], [4.0, bad, 5]), 2)


def test_tied_weights_count_once():
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.ReLU(), nn.Linear(4, 4, bias=False))
    model[2].weight = model[0].weight
    assert al.suggest(model, 2) == {"0.weight": al.Sparse(keep=8)}
    assert allocation.together(model, 2) == {("0.weight",): al.Sparse(keep=8)}


def test_one_budget_over_all_layers_goes_in_steps_too():
    sets = allocation.together(LENET5, 1000)
    (key,) = sets
    assert [each[key].keep for each in allocation.in_steps(LENET5, sets, 3)] == [43_033, 4_302, 430]


@pytest.mark.parametrize("error", laplace.ERRORS)
@pytest.mark.parametrize("ratio", [1.2, 5, 20])
def test_laplace_keeps_what_its_thresholds_leave(ratio, error):
    sets = allocation.by_laplace(LENET5, ratio, error)
    assert list(sets) == list(allocation.prunable(LENET5))
    assert sum(each.keep for each in sets.values()) == int(430_500 / ratio)
    fits = {name: laplace.fit(weight) for name, weight in allocation.prunable(LENET5).items()}
    betas = laplace.thresholds(fits, 1 - int(430_500 / ratio) / 430_500, error)
    for name, each in sets.items():
        kept = fits[name].count * (1 - laplace.pruned_share(betas[name], fits[name].tau))
        assert each.keep == pytest.approx(kept, abs=2)  # rounded, and what a full layer cannot take


def test_laplace_counts_what_is_left_to_prune():
    half = two_layers([1.0, 0.0, 2.0, 0.0], [3.0, 4.0, 0.0, 0.0])
    assert [each.keep for each in allocation.by_laplace(half, 1.5).values()] == [2, 2]  # of 5 that may stay
    assert sum(each.keep for each in allocation.by_laplace(half, 2.5).values()) == 3
    with pytest.raises(ValueError, match=r"would leave .* without a weight"):
        allocation.by_laplace(half, 9)
    with pytest.raises(ValueError, match="nonzero weights, and finite ones"):
        allocation.by_laplace(two_layers([0.0, 0.0], [1.0, 2.0]), 2)


def test_together_is_one_budget():
    (sets,) = allocation.together(al.models.lenet300(), 22.9).items()
    assert sets == (("fc1.weight", "fc2.weight", "fc3.weight"), al.Sparse(keep=11_624))
    model = two_layers([1.0] * 100, [1.0] * 100)
    assert list(allocation.together(model, 200).values()) == [al.Sparse(keep=1)]
    with pytest.raises(ValueError, match="ratio=300 would leave no weight at all: lower it"):
        allocation.together(model, 300)


def test_steps_divide_by_the_same_factor_and_end_exactly():
    model = al.models.lenet5()
    final = {"conv1.weight": al.Sparse(keep=100), "fc1.weight": al.Sparse(ratio=1000)}
    steps = allocation.in_steps(model, final, 3)
    kept = {name: [each[name].keep for each in steps] for name in final}
    assert kept == {"conv1.weight": [292, 171, 100], "fc1.weight": [40_000, 4_000, 400]}
    assert allocation.in_steps(model, final, 1) == [
        {"conv1.weight": al.Sparse(keep=100), "fc1.weight": al.Sparse(keep=400)}
    ]


@given(st.integers(0, 500), st.integers(1, 9))
def test_steps_never_grow(keep, count):
    kept = [
        each["conv1.weight"].keep
        for each in allocation.in_steps(LENET5, {"conv1.weight": al.Sparse(keep=keep)}, count)
    ]
    assert kept == sorted(kept, reverse=True)
    assert kept[-1] == keep
    assert len(kept) == count


def test_steps_want_layers_that_fit():
    with pytest.raises(ValueError, match="steps must be 1 or more"):
        allocation.in_steps(LENET5, {"conv1.weight": al.Sparse(keep=1)}, 0)
    with pytest.raises(ValueError, match="did you mean 'conv1"):
        allocation.in_steps(LENET5, {"conv1": al.Sparse(keep=1)}, 2)
    with pytest.raises(ValueError, match="keep=501 is more than its 500 weights"):
        allocation.in_steps(LENET5, {"conv1.weight": al.Sparse(keep=501)}, 2)
