"""Rounding to a grid, with the answer to whether a value's error could bring it to another point of the grid.

Boundaries do not lie halfway between the points of the grid but a little beyond: special data give numbers of few
digits (0, 1/2, 1/4 ...), and those lie halfway on many a grid.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engines.core.reduce.moments import Float64

_BOUNDARY = 0.5 + 0.0618
"""In units of the grid, above the point below."""

Bools = npt.NDArray[np.bool_]


def decided(high: Float64, low: Float64, bits: int, error: float | Float64) -> tuple[Float64, Bools]:
    """high + low, each rounded to a multiple of 2**-bits by its absolute value, and whether an `error` leaves it so.

    `high` must be below 2**(53 - bits) and is usually on a finer grid, `low` is far below 2**-bits. Zero is -0 never.
    """
    sign = np.where(high != 0, np.sign(high), np.sign(low))
    units = np.abs(high) * 2.0**bits
    whole = np.floor(units)
    fraction = (units - whole) + sign * low * 2.0**bits
    steps = np.floor(fraction + (1 - _BOUNDARY))  # 0 or 1, or beyond where `low` is not far below
    distance = np.minimum(np.abs(fraction - steps - _BOUNDARY), np.abs(fraction - steps + 1 - _BOUNDARY))
    rounded = sign * (whole + steps) * 2.0**-bits
    return rounded + 0.0, distance > np.asarray(error) * 2.0**bits
