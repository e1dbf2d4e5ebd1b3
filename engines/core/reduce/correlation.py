"""The correlation matrix from exact moments: every entry is computed to 1e-30 and rounded once.

n * sum(x y) - sum(x) sum(y) is a whole number of up to 156 bits. It is computed in limbs of 24 bits, without loss, and
becomes a pair of float64 (Dekker, "A floating-point technique for extending the available precision", Numerische
Mathematik 18, 1971), which is then divided by the two deviations. All of it is elementwise arithmetic of whole numbers
and IEEE float64, the same on every CPU.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.core.reduce.moments import Float64, Moments, standardization
from engines.core.reduce.two_sum import two_sum

_LIMB_BITS = 24
_MASK = (1 << _LIMB_BITS) - 1
_BLOCK = 2**15
_RECIPROCAL_BITS = 128
_SPLITTER = 2.0**27 + 1
_GRID_BITS = 52

Pair = tuple[Float64, Float64]
Int64 = npt.NDArray[np.int64]


def correlation(moments: Moments) -> Float64:
    """The correlation matrix, float64[d, d], in multiples of 2**-52; rows and columns of constant features are 0.

    Raises ValueError below 2 rows.
    """
    varying = standardization(moments)[1] > 0
    rows, columns = np.triu_indices(len(moments.sums))
    sums = _limbs(moments.sums, 3)
    counts = [(moments.rows >> shift) & _MASK for shift in (0, _LIMB_BITS)]
    diagonal = np.flatnonzero(rows == columns)
    reciprocals = _reciprocal_roots(_covariances(counts, sums, moments, rows, columns, diagonal))
    packed = np.empty(len(rows))
    for start in range(0, len(rows), _BLOCK):
        block = slice(start, start + _BLOCK)
        i, j = rows[block], columns[block]
        covariance = _pair(_covariances(counts, sums, moments, rows, columns, block))
        high, low = _product(_product(covariance, _at(reciprocals, i)), _at(reciprocals, j))
        units = high * 2.0**_GRID_BITS
        whole = np.rint(units)
        packed[block] = whole + np.rint((units - whole) + low * 2.0**_GRID_BITS)
    matrix = np.empty((len(moments.sums), len(moments.sums)))
    matrix[rows, columns] = matrix[columns, rows] = packed * 2.0**-_GRID_BITS
    np.fill_diagonal(matrix, varying.astype(np.float64))
    return matrix + 0.0


def _covariances(
    counts: list[int], sums: list[Int64], moments: Moments, rows: Any, columns: Any, which: Any
) -> list[Int64]:
    """Limbs of n * sum(x y) - sum(x) sum(y), lowest first: in [0, 2**24) but for the last one, which has the sign."""
    high = moments.high[which]
    products = [moments.low[which], *_limbs(high, 3)]
    i, j = rows[which], columns[which]
    limbs = [np.zeros(len(i), np.int64) for _ in range(7)]
    for a, count in enumerate(counts):
        if count:
            for b, product in enumerate(products):
                limbs[a + b] += count * product
    for a, left in enumerate(sums):
        for b, right in enumerate(sums):
            limbs[a + b] -= left[i] * right[j]
    for place in range(len(limbs) - 1):
        limbs[place + 1] += limbs[place] >> _LIMB_BITS
        limbs[place] &= _MASK
    return limbs


def _limbs(numbers: Int64, count: int) -> list[Int64]:
    return [(numbers >> (place * _LIMB_BITS)) & _MASK for place in range(count)]


def _pair(limbs: list[Int64]) -> Pair:
    """The number as a pair of float64 of twice the precision."""
    high = np.zeros(len(limbs[0]))
    low = np.zeros(len(limbs[0]))
    for place in reversed(range(len(limbs))):
        part = limbs[place].astype(np.float64) * 2.0 ** (place * _LIMB_BITS)
        high, lost = two_sum(high, part)
        low += lost
    return two_sum(high, low)


def _reciprocal_roots(limbs: list[Int64]) -> Pair:
    """1 / sqrt of each number; 0 of 0."""
    high, low = [], []
    for digits in zip(*(limb.tolist() for limb in limbs), strict=True):
        number = sum(digit << (place * _LIMB_BITS) for place, digit in enumerate(digits))
        if number == 0:
            high.append(0.0)
            low.append(0.0)
            continue
        bits = _RECIPROCAL_BITS + number.bit_length() // 2
        root = math.isqrt((1 << (2 * bits)) // number)
        rounded = float(root)
        high.append(math.ldexp(rounded, -bits))
        low.append(math.ldexp(float(root - int(rounded)), -bits))
    return np.array(high), np.array(low)


def _at(pair: Pair, which: npt.NDArray[np.intp]) -> Pair:
    return pair[0][which], pair[1][which]


def _product(a: Pair, b: Pair) -> Pair:
    """The product of two pairs (Dekker 1971, algorithms mul12 and mul2)."""
    product = a[0] * b[0]
    a_high, a_low = _halves(a[0])
    b_high, b_low = _halves(b[0])
    lost = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return two_sum(product, lost + (a[0] * b[1] + a[1] * b[0]))


def _halves(number: Float64) -> Pair:
    scaled = number * _SPLITTER
    high = scaled - (scaled - number)
    return high, number - high
