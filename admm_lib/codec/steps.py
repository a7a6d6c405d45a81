"""Values that are multiples of one number, as levels at equal distances are, and quantized biases."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from .rangecoder import CodecError

LARGEST = 1 << 12  # multiple
MOST_DIGITS, FARTHEST = 53, 1100  # of a step: its bits, and its exponent either way


@dataclass(frozen=True)
class Step:
    """The number mantissa * 2^exponent, with an odd mantissa, and the largest multiple of it."""

    mantissa: int
    exponent: int
    largest: int

    def values(self, multiples: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
        """The multiples as numbers of a dtype; CodecError where one is above or below its normal numbers."""
        try:
            table = [math.ldexp(self.mantissa * m, self.exponent) for m in range(self.largest + 1)]
        except OverflowError:
            table = [math.inf]
        sizes = torch.tensor(table, dtype=torch.float64)
        if sizes[-1] > torch.finfo(dtype).max or sizes[1] < torch.finfo(dtype).tiny:
            raise CodecError("a step leaves the range of numbers: the file is damaged")
        size = sizes.to(dtype)[np.abs(multiples)]
        return torch.where(torch.from_numpy(multiples < 0), -size, size)


def find_step(values: torch.Tensor) -> Step | None:
    """The greatest number of which all `values` are multiples, none of them zero.

    None where there is none, as for infinities, or where a multiple is above `LARGEST`, or the step is below
    the normal numbers, with which machines may compute as with zero. Exact: the greatest common divisor of
    floats, taken as whole numbers times a power of two.
    """
    sizes = values.double().abs().unique()
    if not len(sizes) or not bool(sizes.isfinite().all()) or sizes[0] == 0:
        return None
    if sizes[-1] / sizes[0] > LARGEST:  # that alone makes one multiple larger
        return None
    mantissas, exponents = np.frexp(sizes.numpy())
    lowest = int(exponents.min()) - MOST_DIGITS
    whole = [
        int(math.ldexp(m, MOST_DIGITS)) << int(e) - MOST_DIGITS - lowest
        for m, e in zip(mantissas.tolist(), exponents.tolist(), strict=True)
    ]
    step = math.gcd(*whole)
    largest = whole[-1] // step
    if largest > LARGEST:
        return None
    shift = (step & -step).bit_length() - 1
    found = Step(step >> shift, lowest + shift, largest)
    return found if float(sizes[-1]) / largest >= torch.finfo(values.dtype).tiny else None


def multiples_of(step: Step, values: torch.Tensor) -> np.ndarray:
    """How many steps each value is, exactly."""
    unit = math.ldexp(step.mantissa, step.exponent)
    return (values.double() / unit).round().long().numpy()
