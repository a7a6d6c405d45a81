"""Panels of notebook 02."""

import copy
from collections.abc import Callable, Mapping
from functools import cache
from threading import Event
from typing import Any

import torch
from torch import nn

from .. import codec, data
from ..admm import ADMM
from ..constraints import Sparse
from ..evaluation import evaluate
from ..figures import one_shot as figures
from ..holding import bake
from ..names import resolve
from ..training import Epoch, fit
from . import downloads
from .base import Panel, Worker, menu, slider

RATIOS = {
    "conv1": (1, 2, 3, 5, 8, 12),
    "conv2": (1, 3, 6, 12.5, 25, 50),
    "fc1": (1, 5, 20, 50, 111, 250, 500),
    "fc2": (1, 2, 5, 14, 30, 60),
}
PAPER = {"conv1": 5, "conv2": 12.5, "fc1": 111, "fc2": 14}  # close to 1804.03294, Table 2


def pruned(model: nn.Module, ratios: Mapping[str, float]) -> nn.Module:
    """A copy of `model`, each named layer projected onto its ratio and held there."""
    cut = copy.deepcopy(model)
    ADMM(cut, {f"{layer}.weight": Sparse(ratio=ratio) for layer, ratio in ratios.items()}).finalize()
    return cut


def layers_panel(
    networks: Mapping[str, nn.Module], split: data.Split, train: data.Split, epochs: int = 3
) -> Panel:
    """A ratio slider per layer of LeNet-5: histograms, masks, accuracy on `split`, images that flipped.

    `networks` maps a label ("dense", "after ADMM") to a plain network. Retrain trains the pruned network
    on `train` for `epochs`, keeping the masks.
    """
    networks = {label: copy.deepcopy(network).cpu() for label, network in networks.items()}
    dense = next(iter(networks.values()))
    reference = predict(dense, split)

    @cache
    def projected(weights: str, layer: str, ratio: float) -> torch.Tensor:
        weight = getattr(*resolve(networks[weights], f"{layer}.weight")).detach()
        return Sparse(ratio=ratio).project(weight)

    @cache
    def answers(weights: str, **ratios: float) -> torch.Tensor:
        cut = copy.deepcopy(networks[weights])
        with torch.no_grad():
            for layer, ratio in ratios.items():
                getattr(*resolve(cut, f"{layer}.weight")).copy_(projected(weights, layer, ratio))
        return predict(cut, split)

    def draw(weights: str, **ratios: float) -> Any:
        values = {layer: getattr(*resolve(networks[weights], f"{layer}.weight")).detach() for layer in ratios}
        masks = {layer: projected(weights, layer, ratio) != 0 for layer, ratio in ratios.items()}
        after = answers(weights, **ratios)
        changed = (after != reference).nonzero().flatten()[: figures.COLUMNS].tolist()
        flipped = [
            (split.inputs[i], int(split.targets[i]), int(reference[i]), int(after[i])) for i in changed
        ]
        return figures.pruned_layers(values, masks, flipped, summary(weights, **ratios))

    def summary(weights: str, **ratios: float) -> str:
        total = sum(getattr(*resolve(dense, f"{layer}.weight")).numel() for layer in ratios)
        kept = sum(
            Sparse(ratio=ratio).budget(getattr(*resolve(dense, f"{layer}.weight")).numel())
            for layer, ratio in ratios.items()
        )
        right = 100 * float((answers(weights, **ratios) == split.targets).float().mean())
        return f"{total / kept:.1f}x: {kept:,} weights left, {right:.1f}% right before retraining"

    def retrain(stop: Event, report: Callable[[float, str], None]) -> tuple[str, bytes] | None:
        state = dict(panel.state)
        name = f"{called(**state)}-retrained.admm"
        network = pruned(networks[state.pop("weights")], state)
        before = evaluate(network, split).accuracy

        def told(epoch: Epoch) -> None:
            report(
                epoch.number / epochs,
                f"epoch {epoch.number}: {before:.1f}% → {epoch.val_accuracy:.1f}% right",
            )

        report(0, f"before: {before:.1f}% right; the first epoch is running")
        fit(network, train, epochs, lr=2e-3, validate=split, progress=told, stop=stop)
        return None if stop.is_set() else (name, codec.encode(network))

    def called(weights: str, **ratios: float) -> str:
        shares = "-".join(f"{layer}-{ratio:g}x" for layer, ratio in ratios.items())
        return f"lenet5-{weights.replace(' ', '-')}-{shares}"

    def plain(weights: str, **ratios: float) -> nn.Module:
        return bake(pruned(networks[weights], ratios))

    worker = Worker("Retrain", retrain, lambda made: made and panel.offer(*made))
    sliders = {
        layer: slider(f"{layer} ratio", [(f"{ratio:g}x", ratio) for ratio in options], PAPER[layer])
        for layer, options in RATIOS.items()
    }
    panel = Panel(
        "what each layer loses",
        {"weights": menu("weights", list(networks), list(networks)[-1]), **sliders},
        draw,
        alt="For each layer of LeNet-5, the histogram of its weights with the kept ones in orange and its "
        "mask as a picture; below, validation images whose answer changed.",
        text=summary,
        code=_code,
        files=downloads.of_network(plain, called, split.inputs[:2].cpu()),
        below=[worker.widget],
    )
    panel.worker = worker
    return panel


def predict(model: nn.Module, split: data.Split) -> torch.Tensor:
    """The class that `model` answers for each image."""
    return evaluate(model, split, metric=lambda outputs, _: outputs.argmax(1)).scores.long()


def _code(weights: str, **ratios: float) -> str:
    sets = "".join(f'    "{layer}.weight": al.Sparse(ratio={ratio:g}),\n' for layer, ratio in ratios.items())
    admm = "al.fit(model, data, epochs=15, admm=admm)\n" if weights != "dense" else ""
    return f"""import admm_lib as al

data = al.data.load("auto")
model = al.models.pretrained("lenet5", data.name)
admm = al.ADMM(model, {{
{sets}}}, rho=1e-3, schedule=al.geometric(1, 10, 15))
{admm}admm.finalize()
al.fit(model, data, epochs=20, lr=2e-3)
print(al.evaluate(model, data.val))
"""
