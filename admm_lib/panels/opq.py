"""Panel of notebook 07."""

import copy
from functools import cache, lru_cache
from typing import Any

from torch import nn

from .. import codec, data, laplace, opq
from ..allocation import prunable
from ..evaluation import evaluate
from ..figures import opq as figures
from ..holding import bake
from . import downloads
from .base import Panel, menu, slider

RATIOS = (10, 20, 40, 80, 160, 320)
BITS = (1, 2, 3, 4, 5, 6)


def solution_panel(network: nn.Module, split: data.Split) -> Panel:
    """Ratio, bits and weighting: thresholds and steps of all layers, the file's bytes, and the accuracy.

    `network` is a plain trained network; it is pruned and quantized as solved, and not fine-tuned. The bytes
    are those of a real file, with biases as they are.
    """
    network = copy.deepcopy(network).cpu().eval()
    weights = {name: weight.flatten().numpy() for name, weight in prunable(network).items()}

    @cache
    def solved(ratio: int, bits: int, error: laplace.Error) -> dict[str, opq.Layer]:
        return opq.solve(network, ratio, bits, error)

    @lru_cache(4)  # a picture and the line under it
    def held(ratio: int, bits: int, error: laplace.Error) -> nn.Module:
        return bake(opq.hold(copy.deepcopy(network), solved(ratio, bits, error)))

    def called(ratio: int, bits: int, error: laplace.Error) -> str:
        return f"lenet300-{ratio}x-{bits}bit-{error}"

    def stays(ratio: int, bits: int, error: laplace.Error) -> dict[str, float]:
        """The share of each layer that stays."""
        layers = prunable(held(ratio, bits, error))
        return {name: float((weight != 0).float().mean()) for name, weight in layers.items()}

    @cache
    def worth(ratio: int, bits: int, error: laplace.Error) -> tuple[int, float]:
        """The file's bytes, and the accuracy."""
        model = held(ratio, bits, error)
        return len(codec.encode(model)), evaluate(model, split).accuracy

    def draw(ratio: int, bits: int, error: laplace.Error) -> Any:
        layers = solved(ratio, bits, error)
        left = stays(ratio, bits, error)
        short = {name: name.removesuffix(".weight") for name in layers}
        return figures.solution(
            {short[name]: weights[name] for name in layers},
            {short[name]: each.beta for name, each in layers.items()},
            {short[name]: each.step for name, each in layers.items()},
            {short[name]: (each.keep / len(weights[name]), left[name]) for name, each in layers.items()},
        )

    def text(ratio: int, bits: int, error: laplace.Error) -> str:
        layers = solved(ratio, bits, error)
        left, (size, right) = stays(ratio, bits, error), worth(ratio, bits, error)
        kept = sum(left[name] * len(weights[name]) for name in layers)
        total = sum(map(len, weights.values()))
        others = sum(each.numel() for name, each in network.named_parameters() if name not in layers)
        expected = sum(opq.expected_bits(layers)) / 8 + 4 * others
        told = ", ".join(f"{name.removesuffix('.weight')} {each.bits}" for name, each in layers.items())
        return (
            f"{total / kept:.1f}x fewer weights; bits: {told}; a file of {size:,} bytes, {expected:,.0f} "
            f"expected; {right:.1f}% right before fine-tuning"
        )

    return Panel(
        "one-shot pruning and quantization",
        {
            "ratio": slider("ratio", RATIOS, 20),
            "bits": slider("bits a kept weight", BITS, 4),
            "error": menu("weighting", laplace.ERRORS, "remaining"),
        },
        draw,
        alt="A histogram of each layer's weights, with what is cut out shaded and the levels marked below; "
        "beside them, for each layer, the share of weights that stays, as expected and as found.",
        text=text,
        code=_code,
        files=downloads.of_network(held, called, split.inputs[:2].cpu()),
    )


def _code(ratio: int, bits: int, error: str) -> str:
    return f"""import admm_lib as al
from admm_lib import opq

data = al.data.load("auto")
model = al.models.pretrained("lenet300", data.name)
solved = opq.solve(model, ratio={ratio}, bits={bits}, error="{error}")
for name, each in solved.items():
    print(f"{{name}}: below {{each.beta:.3f}} goes, steps of {{each.step:.3f}}, {{each.bits}} bits")
opq.hold(model, solved)  # masks and steps are held while it trains
print(al.evaluate(model, data.val))
al.fit(model, data, epochs=5)
al.save(model, "opq.admm")
"""
