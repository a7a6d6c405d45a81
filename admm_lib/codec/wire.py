"""Integers, strings and literals as bytes, and the bounded reading of them."""

import struct
from typing import Any

from .rangecoder import CodecError

LONGEST_TUPLE, LONGEST_STRING = 64, 1024
LARGEST_ARGUMENT = 1 << 16  # a width, say: a damaged file must not ask for a giant network
FALSE, TRUE, NONE, NATURAL, NEGATIVE, REAL, TEXT, TUPLE = range(8)


class Reader:
    """Takes bytes from the front of `data`; CodecError, saying within what, when they run out."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def left(self) -> int:
        """How many bytes have not been taken."""
        return len(self._data) - self._at

    def take(self, count: int, what: str) -> bytes:
        """The next `count` bytes. CodecError, naming `what`, where fewer are left; so the others here."""
        if count > self.left():
            raise CodecError(f"the file ends within its {what}")
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self, most: int, what: str) -> int:
        """A LEB128 integer of 0..most; CodecError for a larger one."""
        value = shift = 0
        while True:
            byte = self.take(1, what)[0]
            value |= (byte & 127) << shift
            shift += 7
            if value > most or shift > 70:
                raise CodecError(f"the file's {what} is {value} or more, and may be {most} at most")
            if byte < 128:
                return value

    def string(self, what: str) -> str:
        """What `string` wrote; CodecError where it is too long or no UTF-8."""
        raw = self.take(self.number(LONGEST_STRING, f"length of the {what}"), what)
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise CodecError(f"the file's {what} is not UTF-8 text") from None

    def literal(self, what: str, nested: bool = False) -> Any:
        """What `literal` wrote; CodecError for a value of another kind."""
        kind = self.take(1, what)[0]
        if kind in (FALSE, TRUE, NONE):
            return (False, True, None)[kind]
        if kind in (NATURAL, NEGATIVE):
            return self.number(LARGEST_ARGUMENT, what) * (1 if kind == NATURAL else -1)
        if kind == REAL:
            return struct.unpack("<d", self.take(8, what))[0]
        if kind == TEXT:
            return self.string(what)
        if kind == TUPLE and not nested:
            return tuple(self.literal(what, True) for _ in range(self.number(LONGEST_TUPLE, what)))
        raise CodecError(f"the file's {what} holds a value of unknown kind {kind}")


def number(value: int) -> bytes:
    """A natural number as LEB128: seven bits a byte, the lowest first."""
    data = bytearray()
    while value > 127:
        data.append(value & 127 | 128)
        value >>= 7
    return bytes([*data, value])


def string(text: str) -> bytes:
    """UTF-8 after its length. Raises CodecError where it is longer than a reader accepts."""
    raw = text.encode()
    if len(raw) > LONGEST_STRING:
        raise CodecError(f"the name {text[:40]!r}... is longer than {LONGEST_STRING} bytes")
    return number(len(raw)) + raw


def literal(value: object, nested: bool = False) -> bytes:
    """None, a bool, a small integer, a float, a string, or a flat tuple of these.

    Raises CodecError for anything else.
    """
    match value:
        case None | False | True:
            return bytes([NONE if value is None else TRUE if value else FALSE])
        case int() if abs(value) <= LARGEST_ARGUMENT:
            return bytes([NATURAL if value >= 0 else NEGATIVE]) + number(abs(value))
        case float():
            return bytes([REAL]) + struct.pack("<d", value)
        case str():
            return bytes([TEXT]) + string(value)
        case tuple() | list() if not nested and len(value) <= LONGEST_TUPLE:
            return bytes([TUPLE]) + number(len(value)) + b"".join(literal(v, True) for v in value)
    raise CodecError(f"the architecture's argument {value!r} is no literal that a file can keep")
