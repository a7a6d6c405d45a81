"""Evaluation: loss and a score per example, on a split or any iterable of batches."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset, IterableDataset

from .data import Augment, Data, Split

Batches = Iterable[tuple[Tensor, Tensor]]
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Evaluation:
    """Mean loss, mean metric (by default accuracy in percent), and the metric of each example, (N,)."""

    loss: float
    accuracy: float
    scores: Tensor = field(repr=False)

    @property
    def correct(self) -> Tensor:
        """Per example, whether its score is above zero: for accuracy, whether it was classified right."""
        return self.scores > 0


def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """100 where the largest output is the target's, else 0; shape (N,)."""
    return 100.0 * (outputs.argmax(1) == targets)


@torch.no_grad()
def evaluate(
    model: nn.Module,
    data: Split | Batches,
    *,
    loss: Loss | None = None,
    metric: Loss = accuracy,
    batch_size: int = 1000,
) -> Evaluation:
    """Loss and metric of `model` on a split or any iterable of (inputs, targets), in full precision.

    Convolutions on a GPU have it whatever torch is set to; linear layers as `set_float32_matmul_precision`
    of torch says, by default so.

    `loss(outputs, targets)`, by default cross-entropy, is the mean of a batch; `metric(outputs, targets)`
    gives one score per example, (N,). Every part of the model keeps its training mode. Raises ValueError for
    a whole data set, for what gives single examples (a Dataset, a pair of tensors), for no example, and for
    a loss or metric that is no function.

    >>> model = nn.Linear(2, 2, bias=False)
    >>> model.weight.data = torch.eye(2)
    >>> batch = torch.tensor([[1.0, 0], [0, 1], [2, 0], [0, 2]]), torch.tensor([0, 1, 0, 0])
    >>> al.evaluate(model, [batch]).accuracy
    75.0
    """
    loss = loss or F.cross_entropy
    check_functions(loss, metric)
    if isinstance(data, Data):
        raise ValueError("evaluate takes one split: data.train, data.val or data.test")
    device = next((each.device for each in model.parameters()), torch.device("cpu"))
    total, examples, scores = 0.0, 0, []
    now = torch.backends.cudnn  # flags() sets all of them
    exact = now.flags(now.enabled, now.benchmark, now.benchmark_limit, now.deterministic, allow_tf32=False)
    with in_eval_mode(model), exact:  # on a GPU torch's own choice for convolutions is the shorter tf32
        for batch in stream(data, batch_size, None, None):
            inputs, targets = (part.to(device) for part in batch)
            outputs = model(inputs)
            total += loss(outputs, targets).item() * len(inputs)
            examples += len(inputs)
            scores.append(metric(outputs, targets).float().cpu())
    if not scores:
        raise ValueError("there is nothing to evaluate on: the data gave no batch")
    joined = torch.cat(scores)
    return Evaluation(total / examples, joined.double().mean().item(), joined)


def check_functions(loss: Loss, metric: Loss) -> None:
    """Raises ValueError unless both can be called on outputs and targets, as a class of losses cannot."""
    given = (("loss", loss, "torch.nn.functional.mse_loss"), ("metric", metric, f"{__name__}.accuracy"))
    for name, function, such in given:
        if not callable(function) or isinstance(function, type):
            made = getattr(function, "__name__", "")
            found = f"the class {made}: pass {made}()" if made else repr(function)
            raise ValueError(
                f"{name} must be a function of outputs and targets, such as {such}, but is {found}"
            )


@contextmanager
def in_eval_mode(model: nn.Module) -> Iterator[None]:
    """Every part of the model in eval mode inside, and in its own mode again afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def stream(
    data: Split | Batches, size: int, generator: torch.Generator | None, augment: Augment | None,
    *also: Tensor,
) -> Iterator[tuple[Tensor, ...]]:  # fmt: skip
    """The batches of a split, with the rows of `also`, or of whatever gives batches by itself.

    Raises ValueError for a torch Dataset and for a pair of tensors, which give single examples.
    """
    if isinstance(data, tuple | list) and any(isinstance(each, Tensor) for each in data):
        raise ValueError("tensors are no batches: DataLoader(TensorDataset(inputs, targets), batch_size=128)")
    if isinstance(data, Dataset) and not isinstance(data, IterableDataset):
        raise ValueError("a Dataset gives single examples: wrap it, DataLoader(dataset, batch_size=128)")
    if isinstance(data, Split):
        return data.batches(size, generator, augment, *also)
    return _each(data)


def _each(data: Batches) -> Iterator[tuple[Tensor, ...]]:
    """Begun when the first batch is asked for: a loader's workers draw indices as soon as they are there."""
    for inputs, targets in data:  # noqa: UP028  (what is no pair fails here)
        yield inputs, targets
