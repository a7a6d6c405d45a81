"""What a network costs: multiply-accumulates, bits of weights and positions, and a model of energy."""

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from . import groups
from .evaluation import in_eval_mode
from .holding import bake
from .storage import uniform

LAYERS = (nn.Linear, nn.modules.conv._ConvNd)
# Picojoules in a 45 nm process: 32 bits from DRAM, and a multiplication with an addition of 32-bit floats.
# Source: Horowitz 2014 (ISSCC), as in 1602.01528 (EIE), Table I. A model, which knows neither caches nor
# activations; not a measurement.
DRAM_32, MAC_32 = 640.0, 3.7 + 0.9


@dataclass(frozen=True)
class Work:
    """A layer's multiply-accumulates for one example: with all of its weights, and with the nonzero ones."""

    name: str
    macs: int
    nonzero_macs: int


@torch.no_grad()
def work(model: nn.Module, inputs: Tensor) -> list[Work]:
    """The work of each linear layer and convolution on one of `inputs`, a batch, in the order they run.

    macs = places weights, with the places of the output, or, of a transposed convolution, which spreads each
    place of its input, those of the input; nonzero_macs = places (nonzero weights): what hardware would do
    that skips every zero weight at no cost. A layer that runs twice counts twice. The model is not changed.

    >>> from admm_lib import cost
    >>> model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1))
    >>> model[0].weight.data[0] = 0
    >>> cost.work(model, torch.zeros(1, 1, 4, 4))
    [Work(name='0', macs=288, nonzero_macs=144)]
    """
    found: list[Work] = []
    plain = bake(copy.deepcopy(model))
    names = {module: name for name, module in plain.named_modules() if isinstance(module, LAYERS)}

    def look(module: nn.Module, arguments: tuple[Tensor, ...], outputs: Tensor) -> None:
        spread = isinstance(module, nn.modules.conv._ConvTransposeNd)
        seen = arguments[0] if spread else outputs
        places = seen[0].numel() // seen.shape[-1 if isinstance(module, nn.Linear) else 1]
        weight = module.weight
        found.append(
            Work(names[module], places * weight.numel(), places * int(weight.count_nonzero()))
        )

    hooks = [module.register_forward_hook(look) for module in names]
    with in_eval_mode(plain):
        plain(inputs)
    for hook in hooks:
        hook.remove()
    return found


def entropy(density: float) -> float:
    """Bits of position for each nonzero where only their share is known: H(p) / p, with H the binary entropy.

    The least that any code of a uniformly random mask needs (Shannon 1948), log2 C(n, pn) / pn in the limit.
    Raises ValueError for a density outside 0 to 1, 0 excluded.

    >>> from admm_lib import cost
    >>> cost.entropy(0.5), round(cost.entropy(0.1), 2)
    (2.0, 4.69)
    """
    if not 0 < density <= 1:
        raise ValueError(f"density is a share above 0, at most 1, not {density!r}")
    rest = 1 - density
    return -math.log2(density) - (rest * math.log2(rest) / density if rest else 0.0)


def positions(weight: Tensor, by: str = "element", group: groups.Group = None) -> float:
    """Bits that say which groups of a weight are nonzero, where only their number k is known.

    log2 C(groups, k); in n:m log2 C(m, n) for each set of m neighbours, with n the most that any has, or all
    of a smaller set at an edge. No code of uniformly random groups needs less on average. Errors as for
    `groups.check_view` and `groups.count`.

    >>> from admm_lib import cost
    >>> weight = torch.tensor([[1.0, 2, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    >>> round(cost.positions(weight), 2), round(cost.positions(weight, "filter"), 2)  # log2 of 120 and of 4
    (6.91, 2.0)
    """
    groups.check_view(by, group)
    total = groups.count(weight.shape, by, group)
    if by == "n:m":
        most = int(groups.neighbours((weight != 0).float(), group).sum(1).max())
        whole, rest = divmod(weight.shape[1:].numel(), group)
        return len(weight) * (whole * uniform(total, most) + uniform(rest, min(most, rest)))
    return uniform(total, int((groups.norms(weight, by, group) > 0).sum()))


def break_even(value_bits: float, index_bits: float) -> float:
    """How many times fewer weights non-structured pruning must leave to take as few bits as structured.

    r_ns / r_s = (b + b_idx) / b = 1 + b_idx / b. Raises ValueError unless b > 0 and b_idx >= 0. Source: the
    comparison of 1907.02124.

    >>> from admm_lib import cost
    >>> cost.break_even(value_bits=4, index_bits=6)
    2.5
    """
    if not (value_bits > 0 and index_bits >= 0):
        raise ValueError(f"bits are above 0, and those of an index 0 or more, not {value_bits}, {index_bits}")
    return 1 + index_bits / value_bits


def energy(weight_bits: float, macs: float) -> float:
    """Microjoules of one example: every bit of the weights read from DRAM once, and all multiply-accumulates.

    E = 640 pJ bits / 32 + 4.6 pJ macs. A model (see `DRAM_32`), which favours few bits.

    >>> from admm_lib import cost
    >>> round(cost.energy(weight_bits=32 * 1000, macs=1000), 4)
    0.6446
    """
    return (DRAM_32 / 32 * weight_bits + MAC_32 * macs) / 1e6
