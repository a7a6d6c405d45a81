"""Panels of notebook 00."""

import copy
from collections.abc import Callable

import torch
from torch import nn

from .. import data, models
from ..allocation import suggest
from ..evaluation import evaluate
from ..figures import quickstart as figures
from ..names import resolve
from . import downloads
from .base import Panel, menu, slider

RATIOS = (1, 2, 3, 5, 10, 20, 30, 50, 71.2, 100, 167, 350)
SIZES = {"LeNet-5": 430_500, "LeNet-300-100": 266_200, "a million": 1_000_000}


def pruned_accuracy(model: nn.Module, split: data.Split) -> dict[float, float]:
    """Accuracy in percent after cutting `model` to each of `RATIOS` with `suggest`, without retraining."""
    table = {}
    for ratio in RATIOS:
        pruned = copy.deepcopy(model)
        cut(pruned, ratio)
        table[ratio] = evaluate(pruned, split).accuracy
    return table


@torch.no_grad()
def cut(model: nn.Module, ratio: float) -> dict[str, int]:
    """Project the weights of `model`, in place, onto what `suggest` gives for `ratio`; the counts kept."""
    kept = {}
    for name, each in suggest(model, ratio).items():
        weight = getattr(*resolve(model, name))
        weight.copy_(each.project(weight))
        kept[name.removesuffix(".weight")] = each.budget(weight.numel())
    return kept


def flat_weights(model: nn.Module) -> torch.Tensor:
    """All prunable weights as one vector."""
    return torch.cat([getattr(*resolve(model, name)).detach().flatten() for name in suggest(model)])


def pruning_panel(networks: dict[str, nn.Module], split: data.Split) -> Panel:
    """One slider, the pruning ratio: magnitudes cut, accuracy left on `split`, weights kept per layer.

    `networks` maps "dense", and possibly "admm", to plain networks; accuracies are computed once, here.
    """
    networks = {label: copy.deepcopy(network).cpu() for label, network in networks.items()}
    curves = {label: pruned_accuracy(network, split) for label, network in networks.items()}
    dense = networks["dense"]
    weights = flat_weights(dense)
    kept, masks = {}, {}
    for ratio in RATIOS:
        kept[ratio] = cut(pruned := copy.deepcopy(dense), ratio)
        masks[ratio] = flat_weights(pruned) != 0

    def pruned(ratio: float) -> nn.Module:
        cut(model := copy.deepcopy(dense), ratio)
        return model

    def text(ratio: float) -> str:
        left = ", ".join(f"{label} {curve[ratio]:.1f}%" for label, curve in curves.items())
        return f"{ratio:g}x keeps {sum(kept[ratio].values()):,} of {len(weights):,} weights; accuracy {left}"

    return Panel(
        "what a pruning ratio does",
        {"ratio": slider("pruning ratio", [(f"{r:g}x", r) for r in RATIOS], 20)},
        lambda ratio: figures.ratio_story(ratio, weights, masks[ratio], curves, kept[ratio]),
        alt="Three plots: the magnitudes that a pruning ratio removes, the accuracy left before retraining "
        "(level at first, then falling steeply), and the weights each layer keeps.",
        text=text,
        code=_code,
        files=downloads.of_network(pruned, lambda ratio: f"lenet5-{ratio:g}x", split.inputs[:2].cpu()),
    )


def _code(ratio: float) -> str:
    return f"""import admm_lib as al

data = al.data.load("auto")
model = al.models.pretrained("lenet5", data.name)
admm = al.ADMM(model, al.suggest(model, ratio={ratio:g}), rho=1e-3, schedule=al.geometric(1, 10, 15))
al.fit(model, data, epochs=15, admm=admm)      # pull the weights towards the sparse set
admm.finalize()                                # cut what is left, and hold the zeros
al.fit(model, data, epochs=20, lr=2e-3)        # retrain what remains
print(al.storage.ladder(model))
al.save(model, "lenet5.admm")
"""


def words_panel() -> Panel:
    """The converter for the words: a ratio, the share of zeros, the number of weights left."""
    return Panel(
        "ratio, sparsity, weights",
        {
            "ratio": slider("ratio", [(f"{r:g}x", r) for r in RATIOS if r > 1], 167),
            "weights": menu("network", list(SIZES.items()), models_size()),
        },
        figures.nonzero_grid,
        alt="A thousand dots of which the kept share is filled: at 167x on LeNet-5, 2,577 of 430,500 weights "
        "are left, six dots in a thousand.",
        code=_words_code,
    )


def _words_code(ratio: float, weights: int) -> str:
    return f"""import torch
import admm_lib as al

weight = torch.randn({weights})
kept = al.Sparse(ratio={ratio:g}).project(weight)  # the nearest tensor with so few nonzeros
left = kept.count_nonzero().item()
print(left, "weights are left; sparsity", round(1 - left / weight.numel(), 4))
"""


def models_size(build: Callable[[], nn.Module] = models.lenet5) -> int:
    """The weights of a reference network, biases not counted."""
    return sum(parameter.numel() for parameter in build().parameters() if parameter.dim() > 1)
