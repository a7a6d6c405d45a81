"""Panel of notebook 06."""

import copy
from functools import cache
from typing import Any

import numpy as np
from torch import nn

from .. import cost, data, export, times
from ..allocation import prunable
from ..evaluation import evaluate
from ..figures import structured as figures
from ..groups import SIZED, VIEWS
from ..holding import bake
from ..shrink import shrink
from . import downloads
from .base import Panel, menu, slider

RATIOS = (2, 4, 8, 16, 32, 64)
BITS = (32, 8, 4, 3, 1)


def views_panel(network: nn.Module, split: data.Split) -> Panel:
    """View, ratio, bits and batch: what stays of the second convolution, and what the network then costs.

    `network` is a plain LeNet-5, which is projected and not trained. Storage, multiply-accumulates and time
    are over those of the dense network. Storage is that of values, of `bits` each, and of the positions of
    groups, see `cost.positions`; the time is the recorded one of the nearest ratio, on the machine that the
    record names, by the way that is for the view; where there is none, the network runs as a dense one.
    """
    network, recorded = copy.deepcopy(network).cpu().eval(), times.read("lenet5")
    inputs = split.inputs[:1]
    dense_work = sum(layer.macs for layer in cost.work(network, inputs))
    total = sum(weight.numel() for weight in prunable(network).values())

    @cache
    def pruned(view: str, ratio: int) -> nn.Module:
        return times.pruned("lenet5", view, ratio, network)

    @cache
    def found(view: str, ratio: int) -> tuple[int, float, float, float]:
        """Weights left in the shrunk network, bits of positions, share of the work, accuracy."""
        model = pruned(view, ratio)
        small = shrink(model)
        left = sum(int(weight.count_nonzero()) for weight in prunable(small).values())
        work = sum(layer.nonzero_macs for layer in cost.work(small, inputs)) / dense_work
        where = sum(
            cost.positions(weight.detach(), view, times.group(view, ratio))
            for weight in prunable(model).values()
        )
        return left, where, work, evaluate(small, split).accuracy

    @cache
    def time(view: str, ratio: int, batch: int) -> tuple[float, str]:
        way = times.views("lenet5").get(view, "dense")
        rows = times.nearest(recorded, view, ratio, batch, threads=1)
        return rows[way]["over_dense"] if rows else 1.0, way

    @cache
    def mask(view: str, ratio: int) -> np.ndarray:
        return (pruned(view, ratio).conv2.weight.detach() != 0).flatten(1).numpy()

    def storage(view: str, ratio: int, bits: int) -> float:
        left, where, *_ = found(view, ratio)
        return (bits * left + where) / 8

    def draw(view: str, ratio: int, bits: int, batch: int) -> Any:
        left, _, work, _ = found(view, ratio)
        spent, way = time(view, ratio, batch)
        bars = {
            "weights": left / total, "storage": storage(view, ratio, bits) / (4 * total),
            "multiply-accumulates": work, f"time, {way}": spent,
        }  # fmt: skip
        return figures.one_view(mask(view, ratio), bars, view)

    def text(view: str, ratio: int, bits: int, batch: int) -> str:
        left, where, work, right = found(view, ratio)
        spent, way = time(view, ratio, batch)
        if not left:
            return f"{view}: no path from an input to an output is left"
        return (
            f"{view}: {total / left:.1f}x fewer weights; {storage(view, ratio, bits):,.0f} bytes, of which "
            f"{where / 8:,.0f} for positions; {1 / work:.1f}x fewer multiply-accumulates; {spent:.2f} of the "
            f"dense network's time ({way}, batch {batch}, one thread); {right:.1f}% right, nothing trained"
        )

    def called(view: str, ratio: int, **_: int) -> str:
        return f"lenet5-{view.replace(':', '-of-')}-{ratio}x"

    def plain(view: str, ratio: int, **_: int) -> nn.Module:
        return bake(copy.deepcopy(pruned(view, ratio)))

    def smaller(view: str, ratio: int, **_: int) -> tuple[str, bytes]:
        content = export.content(shrink(pruned(view, ratio)), split.inputs[:2].cpu())
        return f"{called(view, ratio)}-shrunk.onnx", content

    return Panel(
        "views, and what they cost",
        {
            "view": menu("view", (*VIEWS, *SIZED), "element"),
            "ratio": slider("ratio", RATIOS, 8),
            "bits": slider("bits a value", BITS, 32),
            "batch": slider("batch", (1, 256), 256),
        },
        draw,
        alt="What stays of the second convolution as a matrix; beside it bars for weights, storage, "
        "multiply-accumulates and time, each over that of the dense network.",
        text=text,
        code=_code,
        files=downloads.of_network(plain, called, inputs) | {"ONNX": smaller},
    )


def _code(view: str, ratio: int, bits: int, batch: int) -> str:
    group = times.group(view, ratio)
    return f"""import admm_lib as al
from admm_lib import cost, times
from admm_lib.allocation import prunable

data = al.data.load("auto")
network = al.models.pretrained("lenet5", data.name)
model = times.pruned("lenet5", "{view}", {ratio}, network)  # projected, not trained
small = al.shrink(model)
where = sum(cost.positions(weight.detach(), "{view}", {group}) for weight in prunable(model).values())
left = sum(layer.nonzeros for layer in al.storage.count(small))
print(round(({bits} * left + where) / 8), "bytes of values and positions")
print(sum(layer.nonzero_macs for layer in cost.work(small, data.val.inputs[:1])), "multiply-accumulates")
print(times.nearest(times.read("lenet5"), "{view}", {ratio}, batch={batch}, threads=1))  # recorded
print(al.evaluate(small, data.val))
"""
