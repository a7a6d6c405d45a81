"""Panels of notebook 08."""

import copy
from collections.abc import Callable
from functools import cache
from threading import Event
from typing import Any

import numpy as np
import torch
from torch import nn

from .. import codec, data
from ..admm import ADMM
from ..constraints import Constraint
from ..evaluation import evaluate
from ..figures import binarization as figures
from ..quantization import Binary, Clusters, Levels, PowerOfTwo, Ternary
from ..schedules import geometric
from ..training import Epoch, fit
from . import downloads
from .base import Panel, Worker, menu, slider

SETS = {
    "binary": (Binary, {}),
    "ternary": (Ternary, {}),
    "2-bit levels": (Levels, {"bits": 2}),
    "3-bit levels": (Levels, {"bits": 3}),
    "4-bit levels": (Levels, {"bits": 4}),
    "2-bit clusters": (Clusters, {"bits": 2}),
    "3-bit powers of two": (PowerOfTwo, {"bits": 3}),
}
PERS = ("layer", "channel")
Report = Callable[[float, str], None]
EPOCHS = 8  # of ADMM, half for the layers in the middle, half for the first and the last
FINISH = 2  # epochs after them, in which what still trains (biases, codebooks, scales) trains


def few(values: str, per: str) -> Constraint:
    """The set that the two controls name."""
    kind, bits = SETS[values]
    return kind(**bits, per=per)


def values_panel(network: nn.Module, split: data.Split, train: data.Split) -> Panel:
    """Layer, values, per layer or per channel: the values found, their error, file and accuracy on `split`.

    `network` is a plain LeNet-5. What is shown is all its layers projected, nothing trained. Train brings a
    copy of it into the chosen set by progressive ADMM on `train`.
    """
    network = copy.deepcopy(network).cpu()
    weights = {name: p.detach() for name, p in network.named_parameters() if p.dim() > 1}
    layers = [name.removesuffix(".weight") for name in weights]

    # All at once, in seconds: clusters for each channel take longer than a picture may.
    networks = {(values, per): _projected(network, few(values, per)) for values in SETS for per in PERS}

    def projected(values: str, per: str) -> nn.Module:
        return networks[values, per]

    @cache
    def errors(values: str, per: str) -> dict[str, float]:
        found = projected(values, per).get_parameter
        pairs = {name: (weight.double(), found(name).detach()) for name, weight in weights.items()}
        parts = [float((w - z).square().sum() / w.square().sum()) for w, z in pairs.values()]
        return dict(zip(layers, (100 * part for part in parts), strict=True))

    @cache
    def distinct(layer: str, values: str, per: str) -> list[np.ndarray]:
        weight = projected(values, per).get_parameter(f"{layer}.weight").detach()
        return [row.unique().numpy() for row in (weight if per == "channel" else [weight])]

    @cache
    def size(values: str, per: str) -> int:
        return len(codec.encode(projected(values, per)))

    @cache
    def right(values: str, per: str) -> float:
        return evaluate(projected(values, per), split).accuracy

    def draw(layer: str, values: str, per: str) -> Any:
        found, shares = distinct(layer, values, per), errors(values, per)
        numbers = weights[f"{layer}.weight"].flatten().numpy()
        return figures.one_layer(numbers, found, shares, layer, f"{layer}: {values}, per {per}")

    def text(layer: str, values: str, per: str) -> str:
        count = len(np.unique(np.concatenate(distinct(layer, values, per))))
        spent = size(values, per)
        smaller = 4 * sum(weight.numel() for weight in weights.values()) / spent
        return (
            f"{layer}: {count:,} different values, squared error {errors(values, per)[layer]:.3g}%. "
            f"All layers, {values} per {per}: {spent:,} bytes as a file"
            f"{', which has no codebook per channel' if per == 'channel' else ''}, "
            f"{smaller:.1f} times smaller than 32 bits a weight; "
            f"{right(values, per):.1f}% right, nothing trained"
        )

    def run(stop: Event, report: Report) -> tuple[str, bytes] | None:
        chosen, model = panel.state, copy.deepcopy(network)
        sets = dict.fromkeys(weights, few(chosen["values"], chosen["per"]))
        _train(model, sets, split, train, stop, report)
        return None if stop.is_set() else (f"{called(**chosen)}-trained.admm", codec.encode(model))

    def called(layer: str, values: str, per: str) -> str:
        return f"lenet5-{values.replace(' ', '-')}-per-{per}"

    worker = Worker("Train", run, lambda made: made and panel.offer(*made))
    panel = Panel(
        "few values",
        {
            "layer": menu("layer", layers, layers[1]),
            "values": slider("values", list(SETS), "binary"),
            "per": menu("found per", PERS, "layer"),
        },
        draw,
        alt="The histogram of a layer's weights with the few values they may take as lines; beside it, the "
        "squared error that these values make in each layer, as bars.",
        text=text,
        code=_code,
        files=downloads.of_network(
            lambda layer, values, per: projected(values, per), called, split.inputs[:2].cpu()
        ),
        below=[worker.widget],
    )
    panel.worker = worker
    return panel


@torch.no_grad()
def _projected(network: nn.Module, each: Constraint) -> nn.Module:
    """A copy with all its weights in a set."""
    model = copy.deepcopy(network)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.copy_(each.project(parameter))
    return model


def _train(
    model: nn.Module, sets: dict[str, Constraint], split: data.Split, train: data.Split,
    stop: Event, report: Report,
) -> None:  # fmt: skip
    """ADMM for the layers in the middle, then for the first and the last, then what still trains."""
    done, ended = [0], []

    def told(epoch: Epoch) -> None:
        done[0] += 1
        so_far = "".join(f"{right:.1f}% → " for right in ended)
        report(done[0] / (EPOCHS + FINISH), f"epoch {done[0]}: {so_far}{epoch.val_accuracy:.1f}% right")

    common = {"lr": 2e-3, "validate": split, "progress": told, "stop": stop, "batch_size": 64}
    first, *middle, last = sets
    half = EPOCHS // 2
    for names in (middle, [first, last]):
        some = {name: sets[name] for name in names}
        admm = ADMM(model, some, rho=1e-3, schedule=geometric(1, 10, half - 1))
        fit(model, train, half, admm=admm, seed=done[0], **common)
        if stop.is_set():  # before projecting, which takes seconds for some sets
            return
        admm.finalize()
        ended.append(evaluate(model, split).accuracy)
    fit(model, train, FINISH, seed=done[0], **common)
    if stop.is_set():
        return
    ended.append(evaluate(model, split).accuracy)
    report(1, " → ".join(f"{right:.1f}%" for right in ended) + " right, after each step")


def _code(layer: str, values: str, per: str) -> str:
    kind, bits = SETS[values]
    arguments = "".join(f"{name}={value}, " for name, value in bits.items()) + f'per="{per}"'
    half = EPOCHS // 2
    return f"""import admm_lib as al

data = al.data.load("auto")
model = al.models.pretrained("lenet5", data.name)
few, how = al.{kind.__name__}({arguments}), {{"lr": 2e-3, "batch_size": 64}}
first, *middle, last = al.suggest(model)  # the names of its weights
for number, names in enumerate([middle, [first, last]]):
    admm = al.ADMM(model, dict.fromkeys(names, few), rho=1e-3, schedule=al.geometric(1, 10, {half - 1}))
    al.fit(model, data, {half}, admm=admm, seed={half} * number, **how)
    admm.finalize()  # these layers stay in the set in the next step
al.fit(model, data, {FINISH}, seed={EPOCHS}, **how)  # what still trains: biases, codebooks, scales
print(al.evaluate(model, data.val))
"""
