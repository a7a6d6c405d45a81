"""What OPQ's solution and ADMM cost on torchvision's networks for ImageNet: time and memory, measured here.

Weights may be random, see `imagenet`: neither depends on them.
"""

from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from . import inference, opq, records, times
from .admm import ADMM
from .allocation import prunable
from .constraints import Constraint, Sparse
from .data import HOME
from .imagenet import NETWORKS, network
from .quantization import Levels

OPQ, ADMMS = HOME / "opq" / "imagenet.json", HOME / "imagenet" / "admm.json"
RATIO, BITS = 10, 4.0  # of the solution that is timed; others take as long
SETS: dict[str, Constraint] = {"1 weight in 10": Sparse(ratio=10), "3-bit levels": Levels(bits=3)}
BATCHES = (4, 16)  # images a step, from which the time of other batches follows in a straight line
IMAGES = 1_281_167  # of ImageNet's training set
SIZE = 224


def opq_cost(name: str, rounds: int = 7) -> dict[str, Any]:
    """Time and memory of OPQ's solution of one network.

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


def admm_cost(name: str, rounds: int = 3) -> dict[str, Any]:
    """Seconds of all that ADMM adds to the training of one network, and of training itself; medians.

    `layers`: the Z- and U-update of each, by set. For each step, `penalty_seconds` of its gradient, beside
    `optimizer_seconds`, a step of SGD with momentum, and `step_seconds` by images: forward and backward of
    random images of 224 pixels.
    """
    model, weights = network(name)
    layers = prunable(model.train())
    admm = ADMM(model, dict.fromkeys(layers, SETS["1 weight in 10"]), rho=1e-3)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9)
    steps = {images: _typical(lambda at=images: _backward(model, at), rounds) for images in BATCHES}
    penalty = _typical(admm.add_penalty_gradient, rounds)
    optimizing = _typical(optimizer.step, rounds)
    del admm, optimizer
    rows = []
    for layer, weight in layers.items():
        spent = {}
        for called, each in SETS.items():
            one = ADMM(model, {layer: each}, rho=1e-3)
            spent[called] = round(_typical(one.update, rounds), 6)
        rows.append({"name": layer.removesuffix(".weight"), "weights": weight.numel(), "update": spent})
    return {
        "network": name,
        "weights": weights,
        "layers": rows,
        "penalty_seconds": round(penalty, 6),
        "optimizer_seconds": round(optimizing, 6),
        "step_seconds": {str(images): round(seconds, 4) for images, seconds in steps.items()},
    }


def share(row: dict[str, Any], images: int, called: str, updates: int = 1) -> dict[str, float]:
    """Seconds of an epoch of ImageNet by what they are spent on, at so many images a step.

    That of a step is on the straight line through those measured.
    """
    (few, low), (many, high) = ((int(at), seconds) for at, seconds in row["step_seconds"].items())
    step = low + (images - few) * (high - low) / (many - few)
    steps = IMAGES / images
    return {
        "forward and backward": steps * step,
        "optimizer": steps * row["optimizer_seconds"],
        "penalty's gradient": steps * row["penalty_seconds"],
        "Z- and U-updates": updates * sum(layer["update"][called] for layer in row["layers"]),
    }


def copies(row: dict[str, Any]) -> dict[str, float]:
    """Bytes of float32 that stand beside the weights while they train, by what they are.

    Not counted are activations, and what validation needs: projected weights, and a copy of the others. What
    an update takes for a while is 2.25 copies of the largest layer (`make bench-growth`).
    """
    every = 4 * sum(layer["weights"] for layer in row["layers"])
    largest = 4 * max(layer["weights"] for layer in row["layers"])
    return {
        "weights": every, "gradients": every, "momentum": every, "Z and U": 2 * every,
        "U - Z, for the gradient": every, "while updating": 2.25 * largest,
    }  # fmt: skip


def record(rounds: int = 7, report: Callable[[str], None] = lambda line: None) -> Path:
    """Measure OPQ's solution of all networks and write data/opq/imagenet.json."""
    rows = []
    for name in NETWORKS:
        rows.append(row := opq_cost(name, rounds))
        report(
            f"{name}, {row['weights']} weights: {row['count']:,} weights in {row['layers']} layers solved in "
            f"{row['seconds']:.3f} s, {row['passes']:.1f} passes"
        )
    found = {"cpu": times.cpu(), "rounds": rounds, "ratio": RATIO, "bits": BITS}
    return records.write_measured(OPQ, found, rows)


def record_admm(rounds: int = 3, report: Callable[[str], None] = lambda line: None) -> Path:
    """Measure what ADMM costs on all networks and write data/imagenet/admm.json."""
    rows = []
    for name in NETWORKS:
        rows.append(row := admm_cost(name, rounds))
        spent = " and ".join(
            f"{sum(layer['update'][called] for layer in row['layers']):.2f} s ({called})" for called in SETS
        )
        report(f"{name}: a Z- and U-update {spent}; a step by images, in seconds: {row['step_seconds']}")
    return records.write_measured(ADMMS, {"cpu": times.cpu(), "rounds": rounds}, rows)


def read() -> dict[str, Any]:
    """What `record` wrote. FileNotFoundError, with the command that measures it, where there is none."""
    return records.read_measured(OPQ, "admm imagenet")


def read_admm() -> dict[str, dict[str, Any]]:
    """What `record_admm` wrote, by network. FileNotFoundError as for `read`."""
    found = records.read_measured(ADMMS, "admm imagenet --admm")
    return {row["network"]: row for row in found["rows"]}


def _backward(model: nn.Module, images: int) -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(images, 3, SIZE, SIZE, generator=generator)
    F.cross_entropy(model(inputs), torch.zeros(images, dtype=torch.long)).backward()


def _typical(way: Callable[[], Any], rounds: int) -> float:
    """The median of seconds, after one call that does not count."""
    way()
    spent = []
    for _ in range(rounds):
        began = perf_counter()
        way()
        spent.append(perf_counter() - began)
    return median(spent)


def _peak(reset: bool = False) -> int | None:
    """The most memory that this process had in use since the last reset, in bytes; None where unknown."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return None
