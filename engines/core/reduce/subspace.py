"""A basis for a space of eigenvectors with equal eigenvalues: chosen by a rule, where the data choose none.

LAPACK returns any orthonormal basis of such a space, another on each CPU. The projector onto the space is unique; its
pivoted Cholesky factor is a basis that depends on the projector alone. Ties of the pivot go to the first feature.
Whole-number arithmetic throughout.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.core.reduce.moments import Float64
from engines.core.reduce.refinement import VECTOR_BITS, Vectors

_BITS = 120
"""Numbers here are in units of 2**-120."""

_TIE = 1 << (_BITS - 30)
_HIGH_BITS = 51

Integers = npt.NDArray[np.object_]


def basis_of(vectors: Vectors, count: int) -> Vectors:
    """The first `count` vectors of the basis of the space that orthonormal `vectors` span."""
    return _basis(vectors, count, complement=False)


def basis_beside(vectors: Vectors, count: int) -> Vectors:
    """The first `count` vectors of the basis of the space at right angles to orthonormal `vectors`."""
    return _basis(vectors, count, complement=True)


def _basis(vectors: Vectors, count: int, *, complement: bool) -> Vectors:
    integers = vectors.integers()
    width = len(integers)
    excess = 2 * VECTOR_BITS - _BITS
    own: Integers = _floor_shift((integers * integers).sum(axis=1), excess) if integers.size else _zeros(width)
    unit = 1 << _BITS
    diagonal: Integers = unit - own if complement else own
    found: list[Integers] = []
    for _ in range(count):
        largest = max(diagonal.tolist())
        pivot = next(index for index, value in enumerate(diagonal.tolist()) if value >= largest - _TIE)
        column = _floor_shift(integers @ integers[pivot], excess) if integers.size else _zeros(width)
        if complement:
            column = -column
            column[pivot] += unit
        for former in found:
            column = column - _floor_shift(former * former[pivot], _BITS)
        root = math.isqrt(column[pivot] << _BITS)
        vector: Integers = (column << _BITS) // root
        found.append(vector)
        diagonal = diagonal - _floor_shift(vector * vector, _BITS)
    matrix = np.stack(found, axis=1)
    high = matrix >> (_BITS - _HIGH_BITS)
    low = matrix - (high << (_BITS - _HIGH_BITS))
    floats = _floats(high, _HIGH_BITS)
    return Vectors(floats, np.zeros_like(floats)).corrected(_floats(low, _BITS))


def _zeros(width: int) -> Integers:
    return np.zeros(width, dtype=int).astype(object)


def _floor_shift(numbers: Any, bits: int) -> Integers:
    shifted: Integers = numbers >> bits
    return shifted


def _floats(numbers: Integers, bits: int) -> Float64:
    return numbers.astype(np.float64) * 2.0**-bits
