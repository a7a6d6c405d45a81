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


@pytest.mark.parametrize(("ratio", "bits"), [(40, 3), (10, 4), (2, 3), (10, 1.5)])
def test_the_expected_bits_are_entropies_of_what_is_there(ratio, bits):
    model = drawn()
    solved = opq.solve(model, ratio, bits)
    labels, where = opq.expected_bits(solved)
    counted = sum(al.storage.uniform(each.fit.count, round(each.keep)) for each in solved.values())
    assert where == pytest.approx(counted, rel=0.01)
    found, held = 0.0, al.bake(opq.hold(copy.deepcopy(model), solved))
    for name, each in solved.items():
        weight = held.get_parameter(name).detach()
        shares = weight[weight != 0].unique(return_counts=True)[1].double() / int(weight.count_nonzero())
        found -= each.keep * sum(share * math.log2(share) for share in shares.tolist())
    assert labels == pytest.approx(found, rel=0.02)


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
    for bits in (0, 0.5, 8.5):
        with pytest.raises(ValueError, match="bits are from 1, the sign, to 8"):
            opq.solve(drawn(), 10, bits)
    pruned = drawn()
    pruned[0].weight.data[:, 10:] = 0
    with pytest.raises(ValueError, match="only 4,000 of 62,000 weights are nonzero: raise ratio=5"):
        opq.solve(pruned, 5)
    pruned[0].weight.data[:] = 0
    with pytest.raises(ValueError, match=r"0.weight: a fit needs nonzero weights"):
        opq.solve(pruned, 5)
    with pytest.raises(ValueError, match="a layer of zeros needs no codebook"):
        opq.codebooks(torch.zeros(3, 3), 2)
    with pytest.raises(ValueError, match="error must be one of weight"):
        opq.solve(drawn(), 10, 3, "none")
    model = nn.Sequential(nn.Linear(300, 200))
    before = model[0].weight.detach().clone()
    with pytest.raises(ValueError, match="has no"):
        opq.hold(model, opq.solve(drawn(), 10))
    assert torch.equal(model[0].weight, before)
    model = drawn()
    al.ADMM(model, {"0.weight": al.Sparse(ratio=2)}).finalize()
    with pytest.raises(ValueError, match=r"0.weight is held by a constraint: .* bake"):
        opq.hold(model, opq.solve(model, 10))


def test_all_multiples_of_a_step_can_be_reached():
    model = drawn()
    solved = opq.solve(model, 10, 4)
    opq.hold(model, solved)
    for name, each in solved.items():
        layer = model.get_submodule(name.split(".")[0])
        levels = layer.parametrizations.weight[0].levels
        count = 2 ** (each.bits - 1)
        assert len(levels) == 2 * count
        expected = each.step * torch.tensor([*range(-count, 0), *range(1, count + 1)])
        assert torch.allclose(levels, expected, rtol=1e-5)
        layer.parametrizations.weight.original.data.fill_(1.5 * each.step * 0.99)
        shown = layer.weight.detach()
        assert torch.allclose(shown[shown != 0], torch.tensor(each.step))


def test_the_ratio_counts_all_weights_also_those_that_are_zero_already():
    model = drawn()
    model[0].weight.data[:, 150:] = 0
    assert sum(each.keep for each in opq.solve(model, 10).values()) == pytest.approx(6_200)
