"""Which value of its codebook each element has: labels, range coded by frequencies learned on the way."""

import numpy as np

from .rangecoder import Coder, weighted

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
