"""Adaptive range coding (Martin 1979) over `constriction`, with probabilities that every platform shares.

They are proportional to integer counts, which float64 holds exactly. A description written once
serves both directions: with an `Encoder` it writes the symbols it is handed, with a `Decoder` it
ignores them and returns those it reads.
"""

import math
from collections.abc import Sequence

import constriction
import numpy as np

Categorical = constriction.stream.model.Categorical
RangeEncoder = constriction.stream.queue.RangeEncoder
RangeDecoder = constriction.stream.queue.RangeDecoder

GAIN = 32  # what one occurrence adds to a count
MEMORY = 256 * GAIN  # counts are halved beyond this total, so that recent symbols weigh more


class CodecError(ValueError):
    """A file that cannot be read, or a network that cannot be written; says why in one line."""


def weighted(counts: Sequence[int] | np.ndarray) -> Categorical:
    """The symbols 0..len(counts)-1, at least two, with probabilities proportional to `counts`."""
    return Categorical(np.asarray(counts, dtype=np.float64), perfect=False)


class Encoder:
    """Writes a stream, no longer than its information requires."""

    def __init__(self) -> None:
        self._queue = RangeEncoder()

    def symbol(self, model: Categorical, symbol: int) -> int:
        """Write one symbol."""
        self._queue.encode(symbol, model)
        return symbol

    def symbols(self, model: Categorical, count: int, symbols: np.ndarray) -> np.ndarray:
        """Write `count` symbols, all with the same probabilities."""
        self._queue.encode(symbols.astype(np.int32), model)
        return symbols

    def spent(self) -> float:
        """The information written so far, in bits."""
        words, (_, width) = self._queue.pos()
        return 32 * words + 64 - math.log2(width)

    def finish(self) -> bytes:
        """The stream: the shortest bytes that lie in the coder's last interval, zeros following.

        constriction ends on whole 32-bit words, up to seven bytes later.
        """
        words, (low, width) = self._queue.pos()
        size = 4 * (words + 2)
        sealed = self._queue.get_compressed().astype(">u4").tobytes().ljust(size, b"\0")
        value = int.from_bytes(sealed, "big")
        low = value - (value - low) % (1 << 64)  # known modulo 2^64, and not above `value`
        for dropped in range(8, -1, -1):
            unit = 1 << (8 * dropped)
            value = -(-low // unit) * unit
            if value < low + width:
                break
        return value.to_bytes(size, "big").rstrip(b"\0")


class Decoder:
    """Reads a stream, which zeros follow, and writes again what it reads, to compare at the end.

    constriction itself says neither that bytes are left over nor that it read beyond the last one.
    """

    def __init__(self, stream: bytes) -> None:
        self._stream, self._echo = stream, Encoder()
        padded = stream + bytes(-len(stream) % 4 + 8)
        self._queue = RangeDecoder(np.frombuffer(padded, dtype=">u4").astype(np.uint32))

    def symbol(self, model: Categorical, symbol: int | None = None) -> int:
        """Read one symbol."""
        return self._echo.symbol(model, int(self._decode(model)))

    def symbols(self, model: Categorical, count: int, symbols: np.ndarray | None = None) -> np.ndarray:
        """Read `count` symbols, all with the same probabilities."""
        return self._echo.symbols(model, count, self._decode(model, count))

    def finish(self) -> None:
        """Raises CodecError unless an encoder of the symbols read writes the same stream."""
        if self._echo.finish() != self._stream:
            raise CodecError("the positions do not fill their stream: the file is damaged")

    def _decode(self, *request: object) -> int | np.ndarray:
        try:
            return self._queue.decode(*request)
        except AssertionError:  # how constriction reports a stream that no encoder wrote
            raise CodecError("the positions are no valid stream: the file is damaged") from None


Coder = Encoder | Decoder


class Adaptive:
    """A symbol's frequencies, learned as it is coded, from integer counts of at least 1."""

    def __init__(self, counts: Sequence[int]) -> None:
        self._counts = np.array(counts, dtype=np.float64)
        self._total = sum(counts)

    def code(self, coder: Coder, symbol: int | None) -> int:
        """Write or read one symbol, and learn from it."""
        symbol = coder.symbol(weighted(self._counts), symbol)
        self._counts[symbol] += GAIN
        self._total += GAIN
        if self._total > MEMORY:
            self._counts = np.maximum(np.floor(self._counts / 2), 1)
            self._total = int(self._counts.sum())
        return symbol
