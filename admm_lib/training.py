"""Training on Lightning Fabric: any device, any precision, ADMM's penalty by argument."""

import copy
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from threading import Event
from time import perf_counter

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from . import distributed
from .admm import ADMM
from .checkpoints import Checkpoint, checksum
from .data import Augment, Data, Shifts, Split
from .distillation import Teacher
from .evaluation import Batches, Loss, accuracy, check_functions, evaluate, stream
from .holding import check_knows_all

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


class DivergenceError(RuntimeError):
    """The loss became NaN or infinite."""


@dataclass(frozen=True)
class Epoch:
    """What one epoch did: mean training loss, validation accuracy in percent (None if not asked), seconds.

    With ADMM the accuracy is that of the projected weights.
    """

    number: int
    loss: float
    val_accuracy: float | None
    seconds: float


def fit(
    model: nn.Module,
    data: Data | Split | Batches,
    epochs: int,
    *,
    admm: ADMM | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    lr: float = 1e-3,
    schedule: str | None = None,
    loss: Loss | None = None,
    teacher: Teacher | None = None,
    metric: Loss = accuracy,
    batch_size: int = 128,
    augment: Augment | None = None,
    seed: int = 0,
    precision: str = "32-true",
    accelerator: str = "auto",
    validate: Data | Split | Batches | None = None,
    keep_best: bool = False,
    resume: str | Path | None = None,
    progress: bool | Callable[[Epoch], None] = False,
    stop: Event | None = None,
) -> list[Epoch]:
    """Train `model` in place, with ADMM's penalty and one update per epoch when `admm` is given.

    `data` is a data set or split of this library, or any iterable of (inputs, targets), with a loss of your
    own (default: cross-entropy). All that is random in epoch e, dropout too, is drawn by seed + e: the
    batches of two calls are those of one long call where the second has seed + epochs. The optimizer is Adam
    at `lr` unless given; `schedule` is "one-cycle" (up over the first tenth, then cosine down to zero; the
    default) or "constant" (the default with ADMM). A `teacher` adds distillation to the loss. `validate` (by
    default `data.val` of a data set) is evaluated by `metric` after each epoch, and `keep_best` ends on the
    epoch where that was highest. `resume` names a file that keeps the state after each epoch: the same call,
    on model, optimizer and ADMM made anew as they were, goes on from there, to the same end. An `augment` is
    compared as well where it is `Shifts` or none. `stop` ends training after the current step. `progress` is
    called with each `Epoch`, or True for a bar. `precision` is "32-true", "bf16-mixed" or, without ADMM and
    `resume`, "16-mixed". The optimizer's own learning rates are the same afterwards as before.

    Started by `torchrun` or `fabric run`, the processes share each batch between them (see `distributed`),
    and each ends with the same weights; on one machine where torch is deterministic these are, but for
    rounding, those of one process, as long as nothing looks at a batch as a whole (batch norm) or is random
    inside the model (dropout).

    Raises ValueError for bad arguments and DivergenceError, naming the step, when loss or weights are not
    finite.

    >>> model, batches = nn.Linear(2, 2), [(torch.eye(2), torch.tensor([0, 1]))]
    >>> admm = al.ADMM(model, {"weight": al.Sparse(keep=2)}, rho=0.1)
    >>> history = al.fit(model, batches, epochs=60, admm=admm, lr=0.1)
    >>> admm.finalize()
    >>> len(history), int(model.weight.count_nonzero()), al.evaluate(model, batches).accuracy
    (60, 2, 100.0)
    """
    loss = loss or F.cross_entropy
    schedule = schedule or ("one-cycle" if admm is None else "constant")
    _check_arguments(epochs, batch_size, schedule, precision, model, admm, optimizer, loss, metric)
    if validate is None and isinstance(data, Data):
        validate = data.val
    if resume is not None and precision == "16-mixed":
        raise ValueError('resume= does not keep the loss scale of "16-mixed": use "bf16-mixed" or "32-true"')
    if keep_best and (validate is None or admm is not None or resume is not None):
        raise ValueError("keep_best needs validation data, goes without admm=, and without resume=")
    train = data.train if isinstance(data, Data) else data
    optimizer = optimizer or torch.optim.Adam(model.parameters(), lr=lr, fused=True)
    steps = _steps(train, batch_size)
    fabric = distributed.fabric(accelerator, precision)
    best: tuple[float, dict] = (-math.inf, {})
    with _rates_kept(optimizer):
        scheduler = _scheduler(optimizer, schedule, steps and epochs * steps)
        optimizer.zero_grad()  # of whatever the caller computed before
        wrapped, optimizer = fabric.setup(model, optimizer)
        admm = admm and distributed.same(admm.to(fabric.device), fabric)
        teacher = teacher and teacher.ready(fabric.device)
        also = []
        if teacher is not None and isinstance(train, Split):
            few = augment is None or (teacher.remember and isinstance(augment, Shifts))
            also = [teacher.answers(train, augment)] if few else []  # else it is asked in every epoch
        parts = {"model": model, "optimizer": optimizer, "schedule": scheduler, "admm": admm}
        told = {"epochs": epochs, "seed": seed, "batch_size": batch_size, "batches": steps,
                "schedule of the rate": schedule, "precision": precision,
                **({"augmentation": repr(augment)} if isinstance(augment, Shifts | None) else {}),
                "learning rate": [each.get("initial_lr", each["lr"]) for each in optimizer.param_groups],
                "teacher": teacher and (teacher.temperature, teacher.weight, teacher.remember),
                "teacher's weights": teacher and checksum(teacher.model.state_dict())}
        checkpoint = resume and Checkpoint(resume, parts, told)
        history = [Epoch(*each) for each in checkpoint.read().get("history", ())] if checkpoint else []
        with _reporting(fabric.is_global_zero and progress, epochs, len(history)) as report:
            for number in range(len(history) + 1, epochs + 1):
                started = perf_counter()
                wrapped.train()
                generator = torch.Generator().manual_seed(seed + number)
                with _random(seed + number, fabric.device):  # a loader's workers draw from it at once
                    batches = stream(train, batch_size, generator, augment, *also)
                    shares = distributed.shared(batches, fabric, seed + number, train)
                    mean_loss = _epoch(
                        fabric, wrapped, optimizer, scheduler, shares, loss, teacher, admm, stop, number
                    )
                if admm is not None:
                    distributed.update(admm, fabric)
                score = None if validate is None else _validate(model, validate, admm, loss, metric)
                history.append(Epoch(number, mean_loss, score, perf_counter() - started))
                report(history[-1])
                if keep_best and score > best[0]:
                    best = (score, copy.deepcopy(model.state_dict()))
                if stop is not None and stop.is_set():
                    break
                if checkpoint and fabric.is_global_zero:
                    checkpoint.write(history=[astuple(epoch) for epoch in history])
    if best[1]:
        model.load_state_dict(best[1])
    return history


@contextmanager
def _random(seed: int, device: torch.device) -> Iterator[None]:
    """Dropout, and whatever else draws from torch's own generators, draws by `seed` inside."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@contextmanager
def _rates_kept(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """The optimizer's groups are afterwards as they were before, also where a checkpoint replaced them."""
    groups = [dict(group) for group in optimizer.param_groups]
    try:
        yield
    finally:
        for group, before in zip(optimizer.param_groups, groups, strict=True):
            group.clear()
            group.update(before)


def _check_arguments(
    epochs: int, batch_size: int, schedule: str, precision: str, model: nn.Module, admm: ADMM | None,
    optimizer: torch.optim.Optimizer | None, loss: Loss, metric: Loss,
) -> None:  # fmt: skip
    check_functions(loss, metric)
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"{name} must be 1 or more, but is {value}")
    if schedule not in ("one-cycle", "constant"):
        raise ValueError(f'schedule must be "one-cycle" or "constant", but is {schedule!r}')
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, but is {precision!r}")
    if admm is not None and precision == "16-mixed":
        # The loss is scaled up for fp16, the penalty's gradient is not: it would all but vanish.
        raise ValueError('ADMM does not run in "16-mixed": use "bf16-mixed" or "32-true"')
    if admm is not None and not admm.belongs_to(model):
        raise ValueError("admm= was made for another model: make it from the model that is trained")
    check_knows_all(optimizer)


def _epoch(
    fabric: Fabric, model: nn.Module, optimizer: torch.optim.Optimizer, scheduler: object,
    batches: Iterator[tuple[float, tuple[Tensor, ...]]], loss: Loss, teacher: Teacher | None,
    admm: ADMM | None, stop: Event | None, number: int,
) -> float:  # fmt: skip
    total, examples, step = torch.zeros((), device=fabric.device), 0, 0
    for step, (share, batch) in enumerate(batches, 1):
        inputs, targets, *taught = fabric.to_device(batch)
        outputs = model(inputs)
        value = loss(outputs, targets)
        if teacher is not None:
            with fabric.autocast():
                taught = taught or [teacher.logits(inputs)]
            value = teacher.loss(*taught, outputs, value)
        if not value.requires_grad:
            raise ValueError("nothing of the model trains: every tensor is fixed, by its set or as frozen")
        fabric.backward(share * value if share != 1 else value)
        if admm is not None:
            admm.add_penalty_gradient()
        optimizer.step()
        optimizer.zero_grad()
        if scheduler is not None:
            scheduler.step()
        total += value.detach() * len(inputs)
        examples += len(inputs)
        if step % 50 == 0:
            _check_finite([total], number, step, optimizer)
        if stop is not None and stop.is_set():
            break
    if step == 0:
        raise ValueError("the training data gave no batch; an iterator that was used up cannot be used again")
    _check_finite([total, *torch._foreach_norm(list(model.parameters()))], number, step, optimizer)
    return distributed.mean(total, examples, fabric)


def _check_finite(values: list[Tensor], epoch: int, step: int, optimizer: torch.optim.Optimizer) -> None:
    if not all(bool(value.isfinite()) for value in values):
        rate = optimizer.param_groups[0]["lr"]
        raise DivergenceError(
            f"the loss is no longer finite at epoch {epoch}, by step {step} (learning rate {rate:.2g}): "
            "lower the learning rate or rho, and check the inputs for NaN"
        )


def _validate(
    model: nn.Module, data: Data | Split | Batches, admm: ADMM | None, loss: Loss, metric: Loss
) -> float:
    split = data.val if isinstance(data, Data) else data
    with nullcontext() if admm is None else admm.projected():
        return evaluate(model, split, loss=loss, metric=metric).accuracy


def _steps(train: Split | Batches, batch_size: int) -> int | None:
    if isinstance(train, Split):
        return math.ceil(len(train) / batch_size)
    with suppress(TypeError):  # also of a DataLoader over an IterableDataset, which has a __len__ that fails
        return len(train)
    return None


def training_device(accelerator: str = "auto") -> torch.device:
    """Where `fit` trains: a GPU where there is one. Images that lie there need no copy for each batch."""
    return distributed.fabric(accelerator, "32-true").device


def _scheduler(
    optimizer: torch.optim.Optimizer, schedule: str, total: int | None
) -> torch.optim.lr_scheduler.LambdaLR | None:
    """One cycle: linear to the optimizer's own rate over the first tenth, then a cosine down to 0."""
    if schedule == "constant":
        return None
    if total is None:
        raise ValueError('this iterable has no length, which a one-cycle needs: pass schedule="constant"')
    rise = max(1, total // 10)

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total - rise)))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


@contextmanager
def _reporting(
    progress: bool | Callable[[Epoch], None], epochs: int, done: int
) -> Iterator[Callable[[Epoch], None]]:
    """What is called after each epoch: the caller's own function, a bar, or nothing."""
    if callable(progress):
        yield progress
        return
    if not progress or os.environ.get("ADMM_PROGRESS") == "off":
        yield lambda epoch: None
        return
    with tqdm(total=epochs, initial=done, unit="epoch", leave=False) as bar:

        def report(epoch: Epoch) -> None:
            score = "" if epoch.val_accuracy is None else f", validation {epoch.val_accuracy:.2f}%"
            bar.set_postfix_str(f"loss {epoch.loss:.4f}{score}", refresh=False)
            bar.update()

        yield report
