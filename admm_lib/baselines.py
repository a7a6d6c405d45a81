"""What other codes need for the same tensors, in bits: the papers' baselines beside the `.admm` file.

Positions: bitmap, compressed sparse rows, Deep Compression's relative index, Golomb (1966), Huffman (1952).
Values: a fixed width and Huffman, each with its codebook.
"""

import heapq
import math

import numpy as np
from torch import Tensor, nn

from . import codec, storage


def gaps(weight: Tensor) -> np.ndarray:
    """From each nonzero to the next, in row-major order; the first from just before the first weight.

    >>> from admm_lib import baselines
    >>> baselines.gaps(torch.tensor([[0.0, 3, 0], [0, 1, 2]])).tolist()
    [2, 3, 1]
    """
    places = np.flatnonzero((weight.detach().reshape(-1) != 0).cpu().numpy())
    return np.diff(places, prepend=-1)


def bitmap(weight: Tensor) -> int:
    """Positions as one bit per weight, in bits."""
    return weight.numel()


def csr(weight: Tensor) -> int:
    """Positions as compressed sparse rows, in bits: a column per nonzero, a start per row, an end.

    Each takes the fewest bits that hold its range; rows are outputs, columns all the rest.

    >>> from admm_lib import baselines
    >>> baselines.csr(torch.tensor([[0.0, 3, 0, 0], [0, 1, 2, 0]]))  # 3 columns of 2 bits, 3 starts of 2
    12
    """
    rows, columns = weight.shape[0], math.prod(weight.shape[1:])
    nonzeros = int(weight.count_nonzero())
    return nonzeros * _width(columns) + (rows + 1) * _width(nonzeros + 1)


def relative_index(weight: Tensor, index_bits: int, value_bits: int = storage.DENSE_BITS) -> int:
    """Positions as gaps of 1..2^index_bits in row-major order, in bits, filler zeros included.

    A longer gap is bridged by filler zeros, each stored as an index and a value of its own. The
    first gap counts from just before the first weight. Raises ValueError for index_bits < 1. Source:
    1510.00149, Section 2, Figure 2.

    >>> from admm_lib import baselines
    >>> baselines.relative_index(torch.tensor([1.0, 0, 0, 0, 0, 2]), index_bits=2, value_bits=8)
    14
    """
    if index_bits < 1:
        raise ValueError(f"an index needs at least 1 bit, but index_bits is {index_bits}")
    found = gaps(weight)
    fillers = int(((found - 1) >> index_bits).sum())
    return (len(found) + fillers) * index_bits + fillers * value_bits


def best_relative_index(weight: Tensor, value_bits: int = storage.DENSE_BITS) -> tuple[int, int]:
    """The index width that makes `relative_index` smallest, and its bits.

    >>> from admm_lib import baselines
    >>> baselines.best_relative_index(torch.tensor([1.0, 0, 0, 0, 0, 2]), value_bits=8)
    (3, 6)
    """
    widths = range(1, max(1, weight.numel().bit_length()) + 1)
    bits, width = min((relative_index(weight, width, value_bits), width) for width in widths)
    return width, bits


def golomb(weight: Tensor) -> int:
    """Positions as gaps, each a quotient in unary and a remainder, in bits, with the best power of two as the
    divisor, which takes a byte.

    The best code of whole bits for geometric gaps, those of a uniformly random mask, up to the power of two
    (Gallager and Van Voorhis 1975). Source: Rice 1979, after Golomb 1966.

    >>> from admm_lib import baselines
    >>> baselines.golomb(torch.tensor([1.0, 0, 0, 0, 0, 2]))
    14
    """
    found = gaps(weight) - 1
    widths = range(max(1, weight.numel().bit_length()))
    return 8 + min(len(found) * (1 + width) + int((found >> width).sum()) for width in widths)


def huffman_lengths(counts: np.ndarray) -> np.ndarray:
    """The length of each symbol's code word, 0 for a symbol that never comes; a single one takes a bit.

    The shortest code of whole bits a symbol. Source: Huffman 1952, as in 1510.00149, Section 4.

    >>> from admm_lib import baselines
    >>> baselines.huffman_lengths(np.array([5, 2, 1, 0])).tolist()
    [1, 2, 2, 0]
    """
    lengths = np.zeros(len(counts), dtype=np.int64)
    heap = [(int(counts[symbol]), [symbol]) for symbol in np.flatnonzero(counts).tolist()]
    if len(heap) == 1:
        lengths[heap[0][1]] = 1
    heapq.heapify(heap)
    while len(heap) > 1:
        (fewer, one), (more, other) = heapq.heappop(heap), heapq.heappop(heap)
        lengths[one + other] += 1
        heapq.heappush(heap, (fewer + more, one + other))
    return lengths


def huffman(symbols: np.ndarray) -> int:
    """Natural numbers by a Huffman code of their own, in bits, its table not counted.

    >>> from admm_lib import baselines
    >>> baselines.huffman(np.array([0, 0, 0, 0, 0, 1, 1, 2]))  # 5 words of 1 bit, 3 of 2
    11
    """
    counts = np.bincount(symbols)
    return int((counts * huffman_lengths(counts)).sum())


def position_baselines(model: nn.Module, value_bits: int = storage.DENSE_BITS) -> dict[str, float]:
    """Bits for the positions of all weights: by each baseline, and as the `.admm` file codes them.

    `relative` has the paper's widths, 8 bits in convolutions and 5 in linear layers; `relative
    best` the best width per tensor.
    """
    weights = storage.weights(model).values()
    kept = [(weight.numel(), int(weight.count_nonzero())) for weight in weights]
    return {
        "bitmap": sum(map(bitmap, weights)),
        "CSR": sum(map(csr, weights)),
        "relative": sum(relative_index(w, 8 if w.dim() > 2 else 5, value_bits) for w in weights),
        "relative best": sum(best_relative_index(weight, value_bits)[1] for weight in weights),
        "Golomb": sum(map(golomb, weights)),
        "uniform": sum(storage.uniform(*each) for each in kept),
        "file": codec.sections(model)["positions"],
    }


def value_baselines(model: nn.Module, value_bits: int = storage.DENSE_BITS) -> dict[str, float]:
    """Bits for the values of all nonzero weights with their codebooks, k values of `value_bits` each.

    `fixed`: n log2 k + k b of 1510.00149, Eq. (1), whole bits a label; `huffman`: a Huffman code of the
    labels; `file`: as the `.admm` file codes values and codebooks.
    """
    fixed = coded = 0
    for weight in storage.weights(model).values():
        kept = weight[weight != 0]
        labels = kept.unique(return_inverse=True)[1].cpu().numpy()
        k = int(labels.max(initial=-1)) + 1
        fixed += len(labels) * _width(k) + k * value_bits
        coded += (huffman(labels) if k else 0) + k * value_bits
    sections = codec.sections(model)
    return {"fixed": fixed, "huffman": coded, "file": sections["values"] + sections["codebooks"]}


def _width(choices: int) -> int:
    """The bits of a fixed-width number of 0..choices-1."""
    return max(choices - 1, 0).bit_length()
