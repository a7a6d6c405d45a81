"""A file in a QR code: bytes to a picture, and the same bytes back from it."""

import numpy as np
import segno
import zxingcpp

CAPACITY = 2953  # bytes of the largest QR code, version 40, at the lowest level of error correction, L
QUIET = 4  # modules of white around the code, as the standard asks for


def picture(content: bytes, pixels: int = 4) -> np.ndarray:
    """The QR code of `content` as a grey picture, uint8 of shape (side, side), `pixels` per module.

    The smallest version that holds the bytes at level L, and the highest level of error correction that this
    version still has room for. Raises ValueError for no bytes, more than 2,953, or pixels that are no whole
    number from 1 on. Source: ISO/IEC 18004, byte mode.

    >>> al.qr.picture(b"a network", pixels=1).shape  # 21 modules and the margin
    (29, 29)
    """
    code = _code(content)
    if type(pixels) is not int or pixels < 1:
        raise ValueError(f"a module is a whole number of pixels wide, 1 or more, not {pixels!r}")
    modules = np.array([*code.matrix_iter(border=QUIET)], dtype=np.uint8)
    return np.kron(255 * (1 - modules), np.ones((pixels, pixels), dtype=np.uint8))


def describe(content: bytes) -> str:
    """The version and the level of error correction of `picture(content)`, as in 27-L; errors as there.

    >>> al.qr.describe(bytes(2953))
    '40-L'
    """
    return _code(content).designator


def _code(content: bytes) -> segno.QRCode:
    if not isinstance(content, bytes):
        raise ValueError(f"give the bytes of a file, Path(file).read_bytes(), not {content!r:.60}")
    if not 1 <= len(content) <= CAPACITY:
        raise ValueError(f"a QR code holds 1 to {CAPACITY:,} bytes, but these are {len(content):,}")
    return segno.make(content, mode="byte", error="l", micro=False)


def read(image: np.ndarray) -> bytes:
    """The bytes of the one QR code in a picture of shape (height, width), or with 3 or 4 colours at the end.

    Its values are uint8, or floats from 0 to 1, as matplotlib reads a PNG; a fourth colour, the alpha
    channel, is not looked at. Raises ValueError for anything else, and where there is no code, or more than
    one.

    >>> al.qr.read(al.qr.picture(b"a network"))
    b'a network'
    """
    given = np.asarray(image)
    if given.dtype.kind == "f" and given.size and given.min() >= 0 and given.max() <= 1:
        given = np.rint(255 * given).astype(np.uint8)
    shaped = given.size > 0 and given.ndim > 1 and given.shape[2:] in ((), (3,), (4,))
    if given.dtype != np.uint8 or not shaped:
        raise ValueError(
            "a picture is uint8, or floats from 0 to 1, of shape (height, width), or with 3 or 4 colours, "
            f"but this is {given.dtype}, {given.shape}"
        )
    given = np.ascontiguousarray(given[..., :3] if given.ndim == 3 else given)
    found = zxingcpp.read_barcodes(given, formats=zxingcpp.BarcodeFormat.QRCode)
    if len(found) != 1:
        raise ValueError(
            f"{len(found) or 'no'} QR codes were found: give a sharp picture of one, with its white margin"
        )
    return found[0].bytes
