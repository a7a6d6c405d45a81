"""The accounting ladder: what a network takes, in bits, from its values alone to the file on disk.

All counts are over the tensors with two or more dimensions, the weights; everything else (biases,
norms, buffers) is counted together as `biases`. A tensor that two names share counts once.
"""

import math
from dataclasses import asdict, dataclass

from torch import Tensor, nn

from . import codec
from .names import weight_names

DENSE_BITS = 32  # of a weight in the dense reference
RUNGS = {  # each includes the ones before it
    "values": "values of the nonzeros",
    "positions": "+ their positions",
    "codebooks": "+ codebooks",
    "biases": "+ biases, norms, buffers",
    "file": "= the file, all included",
}


@dataclass(frozen=True)
class Layer:
    """One weight tensor; `ratio` is weights / nonzeros, infinite where nothing is left."""

    name: str
    weights: int
    nonzeros: int
    ratio: float


@dataclass(frozen=True)
class Ladder:
    """Cumulative bits, rung by rung, as the `.admm` file spends them.

    `weights` are those of the dense network that the reference, 32 bits a weight, stands for;
    `nonzero_weights` are not 0 (the file keeps -0.0 too, so `values` may hold more). `uniform` is
    the baseline beside `positions`: values plus log2 C(n, k) per tensor, what it takes on average
    to tell one mask of k among n from all the others.
    """

    weights: int
    nonzero_weights: int
    values: int
    positions: int
    codebooks: int
    biases: int
    file: int
    uniform: float

    def ratio(self, rung: str) -> float:
        """How many times smaller than the dense reference, counting up to this rung: 32 weights / bits.

        Infinite for no bits. Raises ValueError for an unknown rung; `RUNGS` has them, beside "uniform".
        """
        if rung not in (*RUNGS, "uniform"):
            raise ValueError(f"unknown rung {rung!r}: choose one of {', '.join(RUNGS)}, uniform")
        bits = getattr(self, rung)
        return DENSE_BITS * self.weights / bits if bits else math.inf

    def as_bits(self) -> dict[str, int]:
        """The rungs as a record holds them."""
        return {rung: getattr(self, rung) for rung in RUNGS}

    def table(self) -> str:
        """The rungs as text of fixed width."""
        dense = DENSE_BITS * self.weights
        rows = [("dense weights at 32 bits", dense, 1.0)]
        rows += [(label, getattr(self, rung), self.ratio(rung)) for rung, label in RUNGS.items()]
        rows += [("(values, a uniform mask)", round(self.uniform), self.ratio("uniform"))]
        share = self.weights / self.nonzero_weights if self.nonzero_weights else math.inf
        lines = [f"{self.nonzero_weights:,} of {self.weights:,} weights are nonzero: {share:,.1f}x"]
        lines += [f"{'counted':<26}{'bits':>14}{'bytes':>13}{'ratio':>11}"]
        lines += [
            f"{label:<26}{bits:>14,}{math.ceil(bits / 8):>13,}{ratio:>10,.1f}x" for label, bits, ratio in rows
        ]
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.table()


def count(model: nn.Module) -> list[Layer]:
    """Weights and nonzeros per weight tensor, parametrized or not, in the model's order.

    >>> model = nn.Linear(4, 3)
    >>> model.weight.data[0] = 0
    >>> al.storage.count(model)
    [Layer(name='weight', weights=12, nonzeros=8, ratio=1.5)]
    """
    rows = []
    for name, weight in weights(model).items():
        nonzeros = int(weight.count_nonzero())
        ratio = weight.numel() / nonzeros if nonzeros else math.inf
        rows.append(Layer(name, weight.numel(), nonzeros, ratio))
    return rows


def layers(model: nn.Module) -> list[dict]:
    """`count` as a record holds it; the ratio to two decimals, None where nothing is left.

    >>> al.storage.layers(nn.Linear(4, 3))
    [{'name': 'weight', 'weights': 12, 'nonzeros': 12, 'ratio': 1.0}]
    """
    rows = [asdict(row) for row in count(model)]
    for row in rows:
        row["ratio"] = round(row["ratio"], 2) if row["nonzeros"] else None
    return rows


def ladder(model: nn.Module) -> Ladder:
    """The ladder of a model as it would be saved now. Raises CodecError as `codec.encode` does.

    >>> model = nn.Linear(100, 10)
    >>> al.ADMM(model, {"weight": al.Sparse(keep=50)}).finalize()
    >>> ladder = al.storage.ladder(model)
    >>> ladder.ratio("values"), round(ladder.uniform - ladder.values, 1)  # log2 C(1000, 50) bits of positions
    (20.0, 282.3)
    """
    rows, bits = count(model), codec.sections(model)
    values, positions = bits["values"], bits["values"] + bits["positions"]
    codebooks = positions + bits["codebooks"]
    return Ladder(
        weights=reference_weights(model),
        nonzero_weights=sum(row.nonzeros for row in rows),
        values=values,
        positions=positions,
        codebooks=codebooks,
        biases=codebooks + bits["biases"],
        file=sum(bits.values()),
        uniform=values + sum(uniform(row.weights, row.nonzeros) for row in rows),
    )


def reference_weights(model: nn.Module) -> int:
    """The weights of the dense network that ratios are against: what `model` came from, or its own.

    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> model[0].weight.data[1] = 0
    >>> al.storage.reference_weights(al.shrink(model))
    18
    """
    return getattr(model, "reference_weights", sum(row.weights for row in count(model)))


def uniform(cells: int, nonzeros: int) -> float:
    """log2 C(cells, nonzeros): the bits of a mask of which only the density is known.

    >>> round(al.storage.uniform(10, 3), 2)  # log2 of 120 masks
    6.91
    """
    log = math.lgamma(cells + 1) - math.lgamma(nonzeros + 1) - math.lgamma(cells - nonzeros + 1)
    return max(0.0, log / math.log(2))


def weights(model: nn.Module) -> dict[str, Tensor]:
    """The tensors that count as weights, each once, in the model's order, whatever they are held by.

    >>> {name: tuple(each.shape) for name, each in al.storage.weights(nn.Linear(4, 3)).items()}
    {'weight': (3, 4)}
    """
    found = codec.weights(model, codec.plain_state(model))
    return {name: found[name] for name in weight_names(model) if name in found}
