"""Changes of images do what they say."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import admm_lib as al
from admm_lib import robustness
from admm_lib.data import STD, Split
from admm_lib.robustness import HIGH, LOW

CHANCE = torch.Generator().manual_seed(0)
IMAGES = LOW + (HIGH - LOW) * torch.rand(6, 1, 28, 28, generator=CHANCE)
LABELS = torch.arange(6) % 3


@pytest.fixture
def model():
    torch.manual_seed(0)
    layers = nn.Linear(784, 20), nn.Tanh(), nn.Dropout(0.5), nn.Linear(20, 3)
    return nn.Sequential(nn.Flatten(), *layers).eval()


def losses(model, images):
    return F.cross_entropy(model(images), LABELS, reduction="none")


@pytest.mark.parametrize("attack", [robustness.fgsm, robustness.pgd])
@pytest.mark.parametrize("size", [0.01, 0.1])
def test_attacks_stay_in_their_box_and_raise_the_loss(model, attack, size):
    found = attack(model, IMAGES, LABELS, size)
    assert not found.requires_grad
    assert bool(((found - IMAGES).abs() <= size / STD + 1e-5).all())
    assert found.min() >= LOW - 1e-6
    assert found.max() <= HIGH + 1e-6
    assert bool((losses(model, found) > losses(model, IMAGES)).all())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_on_a_linear_model_both_attacks_find_the_worst_there_is():
    """With two classes the loss grows with (w_1 - w_0) x: each pixel moves by its sign, as far as it may."""
    torch.manual_seed(1)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(784, 2))
    labels = torch.zeros(6, dtype=torch.long)
    direction = (linear[1].weight[1] - linear[1].weight[0]).detach().sign().reshape(1, 28, 28)
    worst = (IMAGES + 0.05 / STD * direction).clamp(LOW, HIGH)
    for attack in (robustness.fgsm, robustness.pgd):
        torch.testing.assert_close(attack(linear, IMAGES, labels, 0.05), worst)


def test_many_small_steps_do_at_least_as_well_as_one(model):
    once, often = (attack(model, IMAGES, LABELS, 0.2) for attack in (robustness.fgsm, robustness.pgd))
    assert losses(model, often).mean() >= losses(model, once).mean()


def test_noise_has_its_size_and_is_the_same_again(model):
    grey = torch.full((50, 1, 28, 28), (LOW + HIGH) / 2)
    found = robustness.noise(model, grey, LABELS, 0.1)
    assert (STD * (found - grey)).std().item() == pytest.approx(0.1, rel=0.02)
    assert torch.equal(found, robustness.noise(model, grey, LABELS, 0.1))
    assert robustness.noise(model, IMAGES, LABELS, 5.0).max() <= HIGH


def test_rotation_turns_about_the_middle(model):
    turned = robustness.rotation(model, IMAGES, LABELS, 90.0)
    torch.testing.assert_close(turned, IMAGES.rot90(1, (2, 3)), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(robustness.rotation(model, IMAGES, LABELS, 0.0), IMAGES, atol=1e-4, rtol=1e-4)
    half = robustness.rotation(model, IMAGES, LABELS, 45.0)
    assert half[:, 0, 0, 0].tolist() == pytest.approx([LOW] * 6, abs=1e-4)  # black moved in


@pytest.mark.parametrize("name", robustness.CHANGES)
def test_a_change_of_size_0_changes_nothing(model, name):
    model.train()
    found = robustness.under(model, Split(IMAGES, LABELS), robustness.CHANGES[name], 0.0, batch_size=4)
    assert model.training
    expected = al.evaluate(model, Split(IMAGES, LABELS))
    assert found.scores.tolist() == expected.scores.tolist()


def test_accuracy_falls_with_the_size_of_an_attack(model):
    split = Split(IMAGES, model(IMAGES).argmax(1))
    found = [robustness.under(model, split, robustness.pgd, size).accuracy for size in (0.0, 0.01, 0.5)]
    assert found[0] == 100
    assert found[0] >= found[1] >= found[2]
    assert found[2] < 50


def test_sizes_are_not_negative(model):
    with pytest.raises(ValueError, match="the size of a change is 0 or more, but is -1"):
        robustness.under(model, Split(IMAGES, LABELS), robustness.fgsm, -1)
