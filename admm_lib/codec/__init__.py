"""The `.admm` file: write a network, read it back bit-exactly.

`format` says what stands in the file and `entries` how each tensor is stored; `network` makes named
tensors of a model and back; `positions` codes where the nonzeros are, through `rangecoder`; `wire`
reads and writes plain bytes.
"""

from .format import Contents, contents, decode, encode, load, measured, save, sections
from .network import plain_state, same_bits, ties, weights
from .rangecoder import CodecError

__all__ = [
    "CodecError", "Contents", "contents", "decode", "encode", "load", "measured", "plain_state", "same_bits",
    "save", "sections", "ties", "weights",
]  # fmt: skip
