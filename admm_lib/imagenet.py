"""The analytic solution on torchvision's networks for ImageNet: how long it takes, and in what memory.

Their trained weights are downloaded where that is possible. Where it is not, weights are random: time and
memory are then as good, and thresholds and steps mean nothing.
"""

from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn

from . import inference, opq, records, times
from ._torchvision import torchvision
from .allocation import prunable
from .data import HOME

NETWORKS = ("alexnet", "vgg16", "resnet50", "mobilenet_v2")
FOLDER = HOME / "opq"
RATIO, BITS = 10, 4.0  # of the solution that is timed; others take as long


def network(name: str) -> tuple[nn.Module, str]:
    """A network, and which weights it has: "ImageNet", or "random" where these cannot be had.

    Raises ValueError for a name that is not one of NETWORKS.
    """
    if name not in NETWORKS:
        raise ValueError(f"the networks are {', '.join(NETWORKS)}, and not {name!r}")
    models = torchvision().models
    try:
        return models.get_model(name, weights="DEFAULT"), "ImageNet"
    except OSError:  # no way out, or a host that does not answer
        return models.get_model(name, weights=None), "random"


def measure(name: str, rounds: int = 7) -> dict[str, Any]:
    """Time and memory of the solution of one network.

    `passes`: the median of seconds over those of `weight.sum()` of the same layers, which reads every weight
    once; `extra_bytes`: how much the most memory in use rises, where the system tells (Linux), or None.
    """
    model, weights = network(name)
    layers = list(prunable(model).values())
    before = _peak(reset=True)
    solved = opq.solve(model, RATIO, BITS)
    after = _peak()
    ways = {
        "solution": lambda: opq.solve(model, RATIO, BITS),
        "pass": lambda: [weight.sum() for weight in layers],
    }
    spent = inference.seconds(ways, rounds, torch.get_num_threads())
    ratios = [a / b for a, b in zip(spent["solution"], spent["pass"], strict=True)]
    return {
        "network": name,
        "weights": weights,
        "count": sum(weight.numel() for weight in layers),
        "layers": len(solved),
        "seconds": round(median(spent["solution"]), 5),
        "pass_seconds": round(median(spent["pass"]), 5),
        "passes": round(median(ratios), 2),
        "extra_bytes": None if before is None else max(0, after - before),
    }


def record(rounds: int = 7, report: Callable[[str], None] = lambda line: None) -> Path:
    """Measure all networks and write data/opq/imagenet.json."""
    rows = []
    for name in NETWORKS:
        rows.append(row := measure(name, rounds))
        report(
            f"{name}, {row['weights']} weights: {row['count']:,} weights in {row['layers']} layers solved in "
            f"{row['seconds']:.3f} s, {row['passes']:.1f} passes"
        )
    found = {"cpu": times.cpu(), "rounds": rounds, "ratio": RATIO, "bits": BITS}
    return records.write_measured(FOLDER / "imagenet.json", found, rows)


def read() -> dict[str, Any]:
    """What `record` wrote. FileNotFoundError, with the command that measures it, where there is none."""
    return records.read_measured(FOLDER / "imagenet.json", "admm imagenet")


def _peak(reset: bool = False) -> int | None:
    """The most memory that this process had in use since the last reset, in bytes; None where unknown."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return None
