"""`suggest`: exact totals, spared ends, nothing above a layer's size."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import admm_lib as al
from admm_lib.allocation import _fill


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
