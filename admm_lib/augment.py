"""Augmentation: training images moved by some pixels, and mirrored."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

Augment = Callable[[Tensor, torch.Generator], Tensor]
BLACK = -0.1307 / 0.3081  # MNIST's background, normalised


@dataclass(frozen=True)
class Shifts:
    """An augmentation that moves each image by up to `pixels` in both directions, `fill` moving in.

    With `flip` half of them are mirrored, left to right, before. The moves that there are have numbers, and
    one is drawn for each image. `fill` is MNIST's background unless given. Raises ValueError unless `pixels`
    is a whole number from 0 on.

    >>> shifts = al.augment.Shifts(pixels=1, fill=0)
    >>> shifts.count, shifts.moved(torch.tensor([[[[1.0, 2], [3, 4]]]]), torch.tensor([0])).tolist()
    (9, [[[[0.0, 0.0], [0.0, 1.0]]]])
    """

    pixels: int = 2
    flip: bool = False
    fill: float = BLACK

    def __post_init__(self) -> None:
        if type(self.pixels) is not int or self.pixels < 0:
            raise ValueError(f"pixels must be a whole number, 0 or more, but is {self.pixels!r}")

    @property
    def _places(self) -> int:
        return (2 * self.pixels + 1) ** 2

    @property
    def count(self) -> int:
        """How many moves there are, (2 pixels + 1)^2, and twice that with `flip`."""
        return self._places * (1 + self.flip)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        return self.moved(images, self.draw(len(images), generator))

    def draw(self, images: int, generator: torch.Generator) -> Tensor:
        """The number of a move for each of so many images."""
        dy, dx = torch.randint(0, 2 * self.pixels + 1, (2, images), generator=generator)
        moves = (2 * self.pixels + 1) * dy + dx
        if self.flip:
            moves += self._places * torch.randint(0, 2, (images,), generator=generator)
        return moves

    def moved(self, images: Tensor, moves: Tensor) -> Tensor:
        """Each image, (N, C, H, W), by the move of its number, (N,)."""
        count, _, height, width = images.shape
        moves = moves.to(images.device)
        if self.flip:
            mirrored = (moves >= self._places)[:, None, None, None]
            images, moves = torch.where(mirrored, images.flip(3), images), moves % self._places
        padded = F.pad(images, [self.pixels] * 4, value=self.fill)
        windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # a view: (N, C, dy, dx, H, W)
        dy, dx = moves // (2 * self.pixels + 1), moves % (2 * self.pixels + 1)
        return windows[torch.arange(count, device=images.device), :, dy, dx]
