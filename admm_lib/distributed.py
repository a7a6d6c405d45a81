"""Training by several processes at once, started by `torchrun` or `fabric run`: what each does differently.

Each process draws the same batches and trains on its share of each, so that the global batch is the one that
`batch_size` says, however many share it. Gradients are averaged by DistributedDataParallel; every process
then makes the same step and the same Z- and U-updates, without talking about them.
"""

import atexit
import logging
import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from lightning_fabric import Fabric
from lightning_fabric.accelerators import ACCELERATOR_REGISTRY
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler

from .admm import ADMM
from .checkpoints import checksum


def launched() -> int:
    """How many processes `torchrun` or `fabric run` started; 1 where neither did."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def rank() -> int:
    """Which of the launched processes this is, from 0 on; 0 where RANK is there for another reason."""
    return int(os.environ["RANK"]) if launched() > 1 else 0


def fabric(accelerator: str, precision: str) -> Fabric:
    """Fabric on one device, or as one of the processes that were launched, a device for each.

    Raises ValueError for an accelerator that is not one of this machine's.
    """
    usable = _accelerators()
    if accelerator not in usable:
        raise ValueError(f"accelerator is one of {', '.join(usable)} here, not {accelerator!r}")
    with warnings.catch_warnings(), _amp_untold():  # advice on unused hardware is not the reader's concern
        warnings.simplefilter("ignore")
        if launched() == 1:
            return Fabric(accelerator=accelerator, devices=1, precision=precision)
        # Python now and then aborts at its end while gloo has threads, and a finished run counts as failed.
        atexit.unregister(_leave)
        atexit.register(_leave)  # again, so that it runs before what was registered since
        if os.environ.get("LT_CLI_USED"):  # `fabric run` has said the rest, and Fabric follows it by itself
            return Fabric(precision=precision)
        local = int(os.environ["LOCAL_WORLD_SIZE"])
        made = Fabric(
            accelerator=accelerator, devices=local, num_nodes=launched() // local, strategy="ddp",
            precision=precision,
        )  # fmt: skip
        made.launch()
    return made


def _leave() -> None:
    """Leave the group of processes, whoever made it, where it was not left before."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _accelerators() -> list[str]:
    """What may be asked for on this machine."""
    known = ACCELERATOR_REGISTRY
    found = [name for name in sorted(known) if known[name]["accelerator"].is_available()]
    return ["auto", *found, *(["gpu"] if {"cuda", "mps"} & set(found) else [])]


@contextmanager
def _amp_untold() -> Iterator[None]:
    """Fabric's line on mixed precision, which each stage of a run would repeat, is not logged inside."""
    log = logging.getLogger("lightning_fabric.utilities.rank_zero")

    def other(record: logging.LogRecord) -> bool:
        return record.getMessage() != "Using bfloat16 Automatic Mixed Precision (AMP)"

    log.addFilter(other)
    try:
        yield
    finally:
        log.removeFilter(other)


def shared(
    batches: Iterable[tuple[Tensor, ...]], fabric: Fabric, seed: int, data: object = None
) -> Iterator[tuple[float, tuple[Tensor, ...]]]:
    """This process's rows of each batch, and the weight of their mean loss.

    The mean over all processes of weight times loss is the mean over the batch, also where its rows do not
    divide evenly. A batch with fewer rows than processes is trained on by all of them as a whole. Where
    `data` is a loader whose sampler deals out the examples, the batches are this process's already. Whatever
    is random in the model, such as dropout, is drawn by another seed in each process from here on.
    """
    world, rank, own = fabric.world_size, fabric.global_rank, _dealt(data, seed)
    for number, batch in enumerate(batches):
        if number == 0 and rank:
            torch.manual_seed(seed + 1_000_003 * rank)
        rows = len(batch[0])
        if world == 1 or own or rows < world:
            yield 1.0, tuple(batch)
        else:
            mine = tuple(part[rank::world] for part in batch)
            yield world * len(mine[0]) / rows, mine


def _dealt(data: object, epoch: int) -> bool:
    """Whether a loader has a sampler that deals out the data to the processes by itself; it is told the epoch
    then, or the order would be the same in each.
    """
    dealing = isinstance(data, DataLoader) and isinstance(data.sampler, DistributedSampler)
    if dealing:
        data.sampler.set_epoch(epoch)
    return dealing


def same(admm: ADMM, fabric: Fabric) -> ADMM:
    """The ADMM with Z, U and rho of the first process, whose weights the model has been given as well."""
    if fabric.world_size > 1:
        admm.load_state_dict(fabric.broadcast(admm.state_dict()))
    return admm


def update(admm: ADMM, fabric: Fabric) -> None:
    """One update of ADMM, in each process by itself. Raises RuntimeError where they end in different bits."""
    admm.update()
    if fabric.world_size > 1:
        sums = fabric.all_gather(torch.tensor(checksum(admm.state_dict()["pairs"]), device=fabric.device))
        if bool((sums != sums[0]).any()):
            raise RuntimeError("the processes disagree on Z and U: was the model changed in some of them?")


def mean(total: Tensor, examples: int, fabric: Fabric) -> float:
    """The sum of all processes' totals over that of their examples."""
    if fabric.world_size == 1:
        return total.item() / examples
    sums = fabric.all_reduce(torch.stack([total, total.new_tensor(examples)]), reduce_op="sum")
    return (sums[0] / sums[1]).item()
