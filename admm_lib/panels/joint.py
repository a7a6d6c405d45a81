"""Panel of notebook 05."""

import copy
from collections.abc import Callable
from functools import cache, lru_cache
from threading import Event
from typing import Any

import torch
from torch import nn

from .. import codec, data
from ..admm import ADMM
from ..allocation import suggest
from ..constraints import Constraint
from ..evaluation import evaluate
from ..figures import joint as figures
from ..quantization import Clusters, Levels
from ..rivals import SHARES, freeze_nearest
from ..schedules import geometric
from ..training import Epoch, fit
from . import downloads
from .base import Panel, Worker, menu, slider

SETS = {"levels": Levels, "clusters": Clusters}
RATIOS = (1, 5, 10, 20, 40, 71, 100, 167, 250)
BITS = (1, 2, 3, 4, 5, 6)
EPOCHS = 4  # of ADMM; then one for each share
Report = Callable[[float, str], None]


def file_panel(network: nn.Module, split: data.Split, train: data.Split) -> Panel:
    """Ratio, bits and kind of values: what the file is made of, its bytes, accuracy on `split`; and the file.

    `network` is a plain LeNet-5. What is shown is pruned and then quantized, nothing trained. Retrain does
    the same to a copy with training on `train`: ADMM prunes it, and then one share of the weights after the
    other is frozen on its values. The file of that takes the place of the other below.
    """
    network = copy.deepcopy(network).cpu()

    @lru_cache(maxsize=8)
    def projected(ratio: int, bits: int, values: str) -> nn.Module:
        model = copy.deepcopy(network)
        with torch.no_grad():
            for name, sparse in suggest(network, ratio=ratio).items():
                weight = model.get_parameter(name)
                weight.copy_(SETS[values](bits).project(sparse.project(weight)))
        return model

    @cache
    def right(ratio: int, bits: int, values: str) -> float:
        return evaluate(projected(ratio, bits, values), split).accuracy

    @cache
    def measured(ratio: int, bits: int, values: str) -> tuple[bytes, dict[str, int]]:
        return codec.measured(projected(ratio, bits, values))

    def draw(ratio: int, bits: int, values: str) -> Any:
        content, found = measured(ratio, bits, values)
        size = len(content)
        headline = f"{ratio}x pruned, {bits} bit{'s' * (bits > 1)}: {size:,.0f} bytes"
        return figures.file_bar(found, 1.02 * size, headline)

    def text(ratio: int, bits: int, values: str) -> str:
        size = len(measured(ratio, bits, values)[0])
        dense = 4 * sum(parameter.numel() for parameter in network.parameters())
        return (
            f"{size:,.0f} bytes, everything included: {dense / size:,.1f} times smaller than 32 bits for "
            f"each weight and bias; {right(ratio, bits, values):.1f}% right, nothing trained"
        )

    def called(ratio: int, bits: int, values: str) -> str:
        return f"lenet5-{ratio}x-{bits}bit-{values}"

    def run(stop: Event, report: Report) -> tuple[str, bytes] | None:
        chosen = panel.state
        model = copy.deepcopy(network)
        few, budgets = SETS[chosen["values"]](chosen["bits"]), suggest(network, ratio=chosen["ratio"])
        if not _retrain(model, budgets, few, split, train, stop, report):
            return None
        content = codec.encode(model)
        report(1, f"{evaluate(model, split).accuracy:.1f}% right, {len(content):,} bytes")
        return f"{called(**chosen)}-retrained.admm", content

    worker = Worker("Retrain", run, lambda made: made and panel.offer(*made))
    panel = Panel(
        "what a file is made of",
        {
            "ratio": slider("pruning ratio", RATIOS, 40),
            "bits": slider("bits", BITS, 3),
            "values": menu("values", list(SETS), "levels"),
        },
        draw,
        alt="One bar, as long as the file: its values, positions, codebooks, biases and header.",
        text=text,
        code=_code,
        files=downloads.of_network(projected, called, split.inputs[:2].cpu()),
        below=[worker.widget],
    )
    panel.worker = worker
    return panel


def _retrain(
    model: nn.Module, budgets: dict[str, Any], few: Constraint, split: data.Split, train: data.Split,
    stop: Event, report: Report,
) -> bool:  # fmt: skip
    """ADMM prunes, then a share of the weights is frozen at a time; False where it was stopped."""
    done = [0]

    def told(epoch: Epoch) -> None:
        done[0] += 1
        report(done[0] / (EPOCHS + len(SHARES)), f"epoch {done[0]}: {epoch.val_accuracy:.1f}% right")

    common = {"lr": 2e-3, "validate": split, "progress": told, "stop": stop, "batch_size": 64}
    admm = ADMM(model, budgets, rho=1e-3, schedule=geometric(1, 10, EPOCHS))
    fit(model, train, EPOCHS, admm=admm, **common)
    admm.finalize()
    for share in SHARES:
        if stop.is_set():
            return False
        freeze_nearest(model, dict.fromkeys(budgets, few), share)
        fit(model, train, 1, seed=done[0], **common)
    return not stop.is_set()


def _code(ratio: int, bits: int, values: str) -> str:
    kind = SETS[values].__name__
    return f"""import admm_lib as al
from admm_lib import rivals

data = al.data.load("auto")
model = al.models.pretrained("lenet5", data.name)
budgets, few, how = al.suggest(model, ratio={ratio}), al.{kind}({bits}), {{"lr": 2e-3, "batch_size": 64}}
admm = al.ADMM(model, budgets, rho=1e-3, schedule=al.geometric(1, 10, {EPOCHS}))
al.fit(model, data, {EPOCHS}, admm=admm, **how)
admm.finalize()  # pruned; now the values of what stays, a share at a time
for number, share in enumerate(rivals.SHARES):
    rivals.freeze_nearest(model, dict.fromkeys(budgets, few), share)
    al.fit(model, data, 1, seed={EPOCHS} + number, **how)
al.save(model, "lenet5-{ratio}x-{bits}bit.admm")
print(al.evaluate(model, data.val), al.storage.ladder(model), sep="\\n")
"""
