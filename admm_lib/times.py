"""Times of pruned networks on this machine, recorded: data/times/NETWORK.json, written by `admm times`.

A time depends on which weights are zero and not on their values, so that networks are pruned by projection
and not trained. Each is run dense, with sparse matrices, physically shrunk, and in ONNX Runtime.
"""

import copy
import math
import platform
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from . import data, export, groups, inference, models, records
from .admm import ADMM
from .allocation import prunable
from .constraints import Sparse
from .holding import bake
from .inference import eager, onnx_runtime, sparse
from .shrink import runs_in_turn, shrink
from .storage import count

FOLDER = data.HOME / "times"
RATIOS = (1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128)
FEWER = (2, 4, 8, 16, 32)  # of ResNet-20, whose sparse convolutions take seconds
SHAPES = {"lenet300": (1, 28, 28), "lenet5": (1, 28, 28), "resnet20": (3, 32, 32)}
Report = Callable[[str], None]


def views(network: str) -> dict[str, str]:
    """The views that times are taken for, and the way that is for networks pruned so."""
    whole = "channel" if network == "resnet20" else "filter"
    return {"element": "CSR", "block": "BSR", whole: "shrunk"}


def pruned(network: str, by: str, ratio: float, model: nn.Module | None = None) -> nn.Module:
    """The network at about that ratio in all layers, as `by` says: a copy, projected, and not trained.

    `model` is the network itself where its weights matter. Whole filters are not taken from the last layer,
    whose outputs are the classes, and in ResNet-20 channels only from the second convolution of each residual
    block; blocks are 4x4, n:m keeps one weight of `ratio` neighbours. A group of each layer stays at least.
    """
    model = models.create(network, seed=0) if model is None else copy.deepcopy(model)
    weights = prunable(model)
    last, sets = list(weights)[-1], {}
    sizes = [weight.numel() for weight in weights.values()]
    kept = _filters_kept(sizes, ratio) if by == "filter" else 1 / ratio
    inside = network == "resnet20" and by == "channel"
    for name, weight in weights.items():
        if (inside and not name.endswith("conv2.weight")) or (by == "filter" and name == last):
            continue
        each = Sparse(keep=0, by=by, group=group(by, ratio))
        sets[name] = replace(each, keep=max(1, round(kept * each.count(weight.shape))))
    ADMM(model, sets).finalize()
    return bake(model).eval()  # or the masks that hold the zeros would be timed, too


def group(by: str, ratio: float) -> groups.Group:
    """The size of a view's groups at a ratio, for views that have one."""
    return {"block": (4, 4), "n:m": max(2, round(ratio))}.get(by)


def _filters_kept(sizes: Sequence[int], ratio: float) -> float:
    """The share x of its filters that each layer but the last keeps: inner x^2 + ends x = total / ratio.

    The first layer loses outputs alone, the last one inputs alone, the others both.
    """
    ends, inner = sizes[0] + sizes[-1], sum(sizes[1:-1])
    return (math.sqrt(ends**2 + 4 * inner * sum(sizes) / ratio) - ends) / (2 * inner)


def measure(
    network: str, batches: Sequence[int] = (1, 256), threads: Sequence[int] = (1, 2),
    ratios: Sequence[float] | None = None, rounds: int = 15, report: Report = lambda line: None,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """A row for each view, ratio, batch, number of threads and way: seconds, and over those of the dense one.

    Both are medians over rounds; `quartiles` are of the ratio of times. `ratio` is that of weights to nonzero
    weights of the whole network, or to the weights of the shrunk one. ValueError for an unknown network.
    """
    if network not in SHAPES:
        raise ValueError(f"unknown network {network!r}: choose one of {', '.join(SHAPES)}")
    inputs = torch.randn(max(batches), *SHAPES[network], generator=torch.Generator().manual_seed(0))
    dense = models.create(network, seed=0).eval()
    total = sum(layer.weights for layer in count(dense))
    exported = export.content(dense, inputs[:2])
    for by, way in views(network).items():
        for asked in ratios or (FEWER if network == "resnet20" else RATIOS):
            model = _ready(pruned(network, by, asked), way, inputs[:2])
            left = sum(layer.nonzeros for layer in count(model[0]))
            for batch, used in product(batches, threads):
                given = inputs[:batch].clone()
                ways = {"dense": eager(dense, given), "ONNX Runtime": onnx_runtime(exported, given, used)}
                ways[way] = eager(model[1], given)
                if model[2]:
                    ways["shrunk, ONNX Runtime"] = onnx_runtime(model[2], given, used)
                spent = inference.seconds(ways, rounds, used)
                here = {"by": by, "ratio": round(total / left, 3), "batch": batch, "threads": used}
                yield from (here | _row(name, each, spent["dense"]) for name, each in spent.items())
            report(f"{network}, {by}, {total / left:.1f}x")


def _ready(model: nn.Module, way: str, inputs: Tensor) -> tuple[nn.Module, nn.Module, bytes]:
    """What is counted, what is run, and what ONNX Runtime is given, if anything."""
    if way != "shrunk":
        return model, sparse(model, way.lower()), b""
    small = shrink(model) if runs_in_turn(model) else shrink(model, inputs)
    return small, small, export.content(small, inputs)


def _row(way: str, spent: list[float], dense: list[float]) -> dict[str, Any]:
    over = [a / b for a, b in zip(spent, dense, strict=True)]
    low, middle, high = statistics.quantiles(over, n=4, method="inclusive")
    return {
        "way": way, "seconds": float(f"{statistics.median(spent):.4g}"), "over_dense": round(middle, 4),
        "quartiles": [round(low, 4), round(high, 4)],
    }  # fmt: skip


def record(network: str, report: Report = lambda line: None, rounds: int = 15) -> Path:
    """Measure, and write data/times/NETWORK.json with what the numbers depend on; returns its path."""
    rows = list(measure(network, report=report, rounds=rounds))
    found = {"network": network, "cpu": cpu(), "rounds": rounds}
    return records.write_measured(FOLDER / f"{network}.json", found, rows)


def read(network: str) -> dict[str, Any]:
    """What `record` wrote. FileNotFoundError, with the command, where there is none."""
    return records.read_measured(FOLDER / f"{network}.json", f"admm times {network}")


def nearest(found: dict[str, Any], by: str, ratio: float, batch: int, threads: int) -> dict[str, dict]:
    """The recorded rows of a view, by way, at the ratio nearest to the one asked for, on a logarithmic scale.

    Empty where no times of that view are recorded.
    """
    rows = [
        row for row in found["rows"] if (row["by"], row["batch"], row["threads"]) == (by, batch, threads)
    ]
    if not rows:
        return {}
    at = min((row["ratio"] for row in rows), key=lambda each: abs(math.log(each / ratio)))
    return {row["way"]: row for row in rows if row["ratio"] == at}


def wins_from(found: dict[str, Any], by: str, way: str, batch: int, threads: int) -> float:
    """The lowest recorded ratio from which on a way is faster than the dense network; inf for none."""
    at = (by, way, batch, threads)
    rows = [row for row in found["rows"] if (row["by"], row["way"], row["batch"], row["threads"]) == at]
    slow = [row["ratio"] for row in rows if row["over_dense"] >= 1]
    return min((row["ratio"] for row in rows if row["ratio"] > max(slow, default=0)), default=math.inf)


def cpu() -> str:
    """The processor's name, as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration, IndexError):
        return platform.processor() or platform.machine()
