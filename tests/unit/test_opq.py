"""OPQ's solution: what it says of a network is what the network then has, and fine-tuning holds it."""

import copy
import math

import pytest
import torch
from torch import nn

import admm_lib as al
from admm_lib import allocation, laplace, opq


def drawn(seed=0):
    """A network whose weights follow the distribution that is assumed."""
    model = nn.Sequential(nn.Linear(300, 200), nn.ReLU(), nn.Linear(200, 10))
    generator = torch.Generator().manual_seed(seed)
    for name, scale in (("0", 0.05), ("2", 0.2)):
        weight = model.get_submodule(name).weight
        signs = torch.rand(weight.shape, generator=generator).sub(0.5).sign()
        weight.data = signs * torch.empty(weight.shape).exponential_(1 / scale, generator=generator)
    return model


@pytest.mark.parametrize("error", laplace.ERRORS)
def test_a_network_of_such_weights_has_what_was_solved(error):
    model = drawn()
    solved = opq.solve(model, 10, 4, error)
    assert sum(each.keep for each in solved.values()) == pytest.approx(62_000 / 10)
    held = opq.hold(copy.deepcopy(model), solved)
    al.bake(held)
    for name, each in solved.items():
        weight, before = held.get_parameter(name).detach(), model.get_parameter(name).detach()
        assert torch.equal(weight != 0, before.abs() >= each.beta)
        assert int((weight != 0).sum()) == pytest.approx(each.keep, rel=0.15, abs=10)
        multiples = weight[weight != 0] / each.step
        assert torch.allclose(multiples, multiples.round(), atol=1e-4)
        assert multiples.abs().max() <= 2 ** (each.bits - 1) + 1e-3


def test_the_expected_bits_are_entropies_of_what_is_there():
    model = drawn()
    solved = opq.solve(model, 10, 4)
    labels, where = opq.expected_bits(solved)
    counted = sum(al.storage.uniform(each.fit.count, round(each.keep)) for each in solved.values())
    assert where == pytest.approx(counted, rel=0.01)
    found = 0.0
    for name, each in solved.items():
        weight = model.get_parameter(name).detach().abs()
        cells = ((weight[weight >= each.beta] - each.beta) / each.step).floor().long()
        shares = cells.bincount().double() / len(cells)
        found += each.keep * (1 - sum(share * math.log2(share) for share in shares.tolist() if share))
    assert labels == pytest.approx(found, rel=0.03)


def test_fine_tuning_moves_the_weights_and_neither_masks_nor_steps():
    data = al.data.load("digits")
    train = data.train.subset(300)
    model = al.models.create("lenet300", seed=1)
    solved = opq.solve(model, 5, 3)
    before = {name: weight.clone() for name, weight in allocation.prunable(opq.hold(model, solved)).items()}
    al.fit(model, train, epochs=2, batch_size=64, lr=0.01)
    moved = 0
    for name, weight in allocation.prunable(al.bake(model)).items():
        assert not bool(((weight != 0) & (before[name] == 0)).any())
        multiples = weight / solved[name].step
        assert torch.allclose(multiples, multiples.round(), atol=1e-4)
        moved += int((weight != before[name]).sum())
    assert moved > 100


def test_codebooks_are_counted_as_their_words_say():
    weight = torch.tensor([[0.0, 1.0, -1.0, 2.0], [4.0, -3.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    found = opq.codebooks(weight, 3)
    assert found["layer"] == opq.Codebooks(0.0, 3 * 5, 32)
    assert found["unified"] == opq.Codebooks(0.0, 2 * 3 + 3 * 2, 32 + 3 * 3)
    assert found["channel"] == opq.Codebooks(0.0, 3 * 5, 2 * 32)
    rows = torch.randn(50, 100, generator=torch.Generator().manual_seed(0))
    rows *= torch.linspace(0.1, 2, 50)[:, None]
    for bits in (2, 3, 5):
        found = opq.codebooks(rows, bits)
        assert found["channel"].error < found["layer"].error == found["unified"].error
        assert found["unified"].labels < found["layer"].labels == found["channel"].labels
        one = al.Levels(bits).project(rows)
        assert found["layer"].error == pytest.approx((one - rows).double().square().mean().item())


def test_what_cannot_be_is_said():
    for ratio in (1, 0.5, math.inf, math.nan):
        with pytest.raises(ValueError, match="ratio is weights per nonzero weight, above 1"):
            opq.solve(drawn(), ratio)
    with pytest.raises(ValueError, match="bits is 1, the sign, or more"):
        opq.solve(drawn(), 10, 0)
    with pytest.raises(ValueError, match="error must be one of weight"):
        opq.solve(drawn(), 10, 3, "none")
    with pytest.raises(ValueError, match="has no"):
        opq.hold(nn.Sequential(nn.Linear(2, 2)), opq.solve(drawn(), 10))
