"""Knowledge distillation: a compressed network that learns from the dense one it came from."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .checkpoints import checksum
from .data import Shifts, Split

BATCH = 250  # images that the teacher is asked about at once; more no longer fit a processor's cache


@dataclass(frozen=True)
class Teacher:
    r"""A trained classifier whose softened outputs are part of the student's loss.

    loss = (1 - weight) hard + weight T^2 KL(softmax(t / T) || softmax(s / T)), with logits t of the
    teacher and s of the student on the same inputs, (N, classes) each, and T = `temperature`; T^2 keeps
    the gradient's size. Raises ValueError unless T > 0 and 0 <= weight <= 1. Source: Hinton et al. 2015,
    Section 2 (1503.02531).

    `remember`: images shifted by `data.Shifts` are few different ones. The teacher is then asked about all of
    them before the first epoch, (2 pixels + 1)^2 times each image, and never again, by whatever call of `fit`
    on the same split; worth it over more epochs than that.

    >>> teacher, outputs = al.Teacher(nn.Linear(2, 3), weight=0.75), torch.tensor([[1.0, 0, 0]])
    >>> teacher.loss(outputs, outputs, hard=torch.tensor(2.0)).item()  # they agree: what is left of `hard`
    0.5
    """

    model: nn.Module
    temperature: float = 4.0
    weight: float = 0.9
    remember: bool = False
    _asked: dict[tuple, tuple[Split, Tensor]] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"temperature must be a positive number, but is {self.temperature!r}")
        if not 0 <= self.weight <= 1:
            raise ValueError(f"weight is the teacher's share of the loss, 0 to 1, but is {self.weight!r}")

    def ready(self, device: torch.device) -> "Teacher":
        """The same with a copy of the network as it is now, on `device` and in evaluation mode."""
        return replace(self, model=copy.deepcopy(self.model).eval().to(device))

    @torch.no_grad()
    def logits(self, inputs: Tensor) -> Tensor:
        """The teacher's own outputs."""
        return self.model(inputs)

    def answers(self, split: Split, moves: Shifts | None = None) -> Tensor:
        """The teacher's outputs on a whole split, in order and in full precision, (N, classes).

        With `moves` on every image moved in every way, (N, moves, classes), kept for the next time.
        """
        if moves is None:
            return self._on(split)
        key = checksum(self.model.state_dict()), id(split), moves
        if key not in self._asked:
            every = []
            for number in range(moves.count):
                numbers = torch.full((BATCH,), number)
                every.append(self._on(split, lambda x, same=numbers: moves.moved(x, same[: len(x)])))
            self._asked[key] = split, torch.stack(every, 1)  # the split, too, so that no other has its id
        return self._asked[key][1]

    def _on(self, split: Split, change: Callable[[Tensor], Tensor] = lambda inputs: inputs) -> Tensor:
        device = next(self.model.parameters()).device
        found = [self.logits(change(inputs.to(device))) for inputs, _ in split.batches(BATCH)]
        return torch.cat(found).to(split.targets.device)

    def loss(self, taught: Tensor, outputs: Tensor, hard: Tensor) -> Tensor:
        """The whole loss, from the teacher's logits, the student's, and its `hard` loss on the labels."""
        target = F.log_softmax(taught.float() / self.temperature, 1)
        student = F.log_softmax(outputs.float() / self.temperature, 1)
        soft = F.kl_div(student, target, reduction="batchmean", log_target=True)
        return (1 - self.weight) * hard + self.weight * self.temperature**2 * soft
