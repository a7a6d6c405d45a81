"""Which value each element has, as a label or a multiple, range coded by frequencies learned on the way."""

import numpy as np

from .rangecoder import CodecError, Coder, weighted

FIRST = 16  # labels before the first lesson


def code_labels(coder: Coder, kinds: int, count: int, labels: np.ndarray | None = None) -> np.ndarray:
    """`count` labels of 0..kinds-1, written or read.

    The frequencies are learned block by block, each a quarter of what came before, which is as good as one
    by one and much faster; every label starts at half an occurrence (Krichevsky and Trofimov 1981).
    """
    if kinds == 1:
        return np.zeros(count, dtype=np.int64)
    frequencies = np.ones(kinds)
    found = np.empty(count, dtype=np.int64)
    at = 0
    while at < count:
        block = slice(at, min(count, at + max(FIRST, at // 4)))
        known = None if labels is None else labels[block]
        found[block] = coder.symbols(weighted(frequencies), block.stop - at, known)
        frequencies += 2 * np.bincount(found[block], minlength=kinds)
        at = block.stop
    return found


def code_multiples(
    coder: Coder, largest: int, count: int, multiples: np.ndarray | None = None
) -> np.ndarray:
    """`count` whole numbers of -largest..largest but 0, written or read.

    Learned are the sign and, of the size less one, the bit length and the bit after the leading one; the bits
    below are taken as random. So 8 levels have 4 frequencies to learn, and 512 no more than 16. Raises
    CodecError for a number beyond `largest`.
    """
    known = negative = known_length = None
    if multiples is not None:
        known, negative = np.abs(multiples) - 1, (multiples < 0).astype(np.int64)
        known_length = lengths(known)
    sign = code_labels(coder, 2, count, negative)
    length = code_labels(coder, (largest - 1).bit_length() + 1, count, known_length)
    size = np.where(length > 0, 1 << (length - 1).clip(0), 0)
    for place in reversed(range((largest - 1).bit_length() - 1)):
        second, lower = length == place + 2, length > place + 2
        bits = np.zeros(count, dtype=np.int64) if known is None else known >> place & 1
        size[second] |= code_labels(coder, 2, int(second.sum()), bits[second]) << place
        size[lower] |= _code_random(coder, int(lower.sum()), bits[lower]) << place
    if count and size.max() >= largest:
        raise CodecError("the values leave their range: the file is damaged")
    return np.where(sign == 1, -1 - size, 1 + size)


def lengths(numbers: np.ndarray) -> np.ndarray:
    """The bit lengths of natural numbers below 2^53."""
    return np.frexp(numbers.astype(np.float64))[1].astype(np.int64)


def _code_random(coder: Coder, count: int, bits: np.ndarray) -> np.ndarray:
    """Bits of which neither is likelier; a decoder does not look at those it is given."""
    found = coder.symbols(weighted([1, 1]), count, bits) if count else bits
    return found.astype(np.int64)
