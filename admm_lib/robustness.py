"""How a network does on images that were changed: by an adversary who knows it, by noise, by rotation.

Images are (N, 1, 28, 28), normalised as `data.load` gives them; sizes of changes are in grey levels, 0 to 1.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .data import MEAN, STD, Split
from .evaluation import Evaluation, evaluate, in_eval_mode

LOW, HIGH = -MEAN / STD, (1 - MEAN) / STD  # black and white, normalised
Change = Callable[[nn.Module, Tensor, Tensor, float], Tensor]  # of images with their labels, by a size


def fgsm(model: nn.Module, images: Tensor, labels: Tensor, size: float) -> Tensor:
    """x + size sign(grad_x loss), within black and white: the fast gradient sign method.

    Source: Goodfellow et al. 2015 (1412.6572), Section 4.
    """
    return _within(images + size / STD * _gradient(model, images, labels).sign(), images, size)


def pgd(model: nn.Module, images: Tensor, labels: Tensor, size: float, steps: int = 20) -> Tensor:
    """`steps` of fgsm of 2.5 size / steps each, back into the box of |x' - x| <= size after each: PGD.

    It starts at the images themselves, so that nothing is random. Source: Madry et al. 2018 (1706.06083),
    Section 2.1.
    """
    found = images
    for _ in range(steps):
        moved = found + 2.5 * size / steps / STD * _gradient(model, found, labels).sign()
        found = _within(moved, images, size)
    return found


def noise(model: nn.Module, images: Tensor, labels: Tensor, size: float) -> Tensor:
    """Gaussian noise of standard deviation `size` on every pixel, the same on each call."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(images.shape, generator=generator).to(images)
    return (images + size / STD * drawn).clamp(LOW, HIGH)


def rotation(model: nn.Module, images: Tensor, labels: Tensor, size: float) -> Tensor:
    """Every image turned by `size` degrees about its middle, bilinear, black moving in."""
    angle = torch.deg2rad(torch.tensor(size))
    turn = torch.tensor([[angle.cos(), -angle.sin(), 0], [angle.sin(), angle.cos(), 0]])
    grid = F.affine_grid(turn.expand(len(images), 2, 3).to(images), images.shape, align_corners=False)
    return F.grid_sample(images - LOW, grid, align_corners=False) + LOW


CHANGES: dict[str, Change] = {"FGSM": fgsm, "PGD-20": pgd, "noise": noise, "rotation": rotation}


def under(model: nn.Module, split: Split, change: Change, size: float, batch_size: int = 500) -> Evaluation:
    """The evaluation of `model` on the changed images of a split; the model stays as it is.

    Raises ValueError for a size below 0.
    """
    if not size >= 0:
        raise ValueError(f"the size of a change is 0 or more, but is {size!r}")
    with in_eval_mode(model):
        changed = [change(model, x, y, size) for x, y in split.batches(batch_size)]
    return evaluate(model, Split(torch.cat(changed), split.targets))


def _gradient(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """The gradient of each image's own loss; none is left in the model's parameters."""
    given = images.detach().requires_grad_()
    loss = F.cross_entropy(model(given), labels, reduction="sum")
    return torch.autograd.grad(loss, given)[0]


def _within(changed: Tensor, images: Tensor, size: float) -> Tensor:
    box = changed.clamp(images - size / STD, images + size / STD)
    return box.clamp(LOW, HIGH).detach()
