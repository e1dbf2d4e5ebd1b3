"""Features to results: an exact sum for each value, so that no BLAS, CPU, block or number of threads changes a bit.

Standardization is folded into the components: a value is the sum of a(j, i) * (x(i) - mean(i)) with a = component /
scale. On the grid of the moments a feature is an integer x; the folded matrix is rounded once to a grid of its own and
cut into digits of few bits, so that products and their sums stay below 2**53, where float64 BLAS does not round (the
error-free splitting of `engines.core.reduce.moments`). The features of smallest scale have the largest digits: a digit
that few features have costs the product of these few alone. What is not a BLAS sum is done element by element in IEEE
float64, which is the same everywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from engines.core.reduce.grid import BITS, Grid
from engines.core.reduce.moments import Float64
from engines.core.reduce.two_sum import two_sum

_FLOAT64_BITS = 53
_MARGIN_BITS = 21
"""Rounding the folded matrix changes a value by 2**-22 = 2.4e-7 in the worst case, and by 1e-9 in practice."""

_BLOCK_ROWS = 512


@dataclass(frozen=True, eq=False)
class _Digit:
    """One digit of the folded matrix: integers [len(features), k] for the features where it is not 0 throughout."""

    features: slice | npt.NDArray[np.intp]
    weights: Float64
    unit: float


@dataclass(frozen=True, eq=False)
class Projection:
    """A PCA made ready to project features on `grid`.

    `center` (whole numbers): float64[d]; `offset`: float64[k]; digits, largest first.
    """

    grid: Grid
    center: Float64
    offset: Float64
    digits: tuple[_Digit, ...]

    def __call__(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """float32[n, d] on the grid -> float32[n, k]. A row's values depend on this row alone.

        Raises ValueError for features off the grid, InputError for those out of its range.
        """
        values = np.empty((len(features), len(self.offset)), np.float32)
        # Exact for any number of threads; one, because a worker has one core.
        with threadpool_limits(limits=1):
            for start in range(0, len(features), _BLOCK_ROWS):
                block = self.grid.integers(features[start : start + _BLOCK_ROWS])
                block -= self.center
                values[start : start + len(block)] = self._of_integers(block)
        return values

    def _of_integers(self, block: Float64) -> Float64:
        total = np.broadcast_to(-self.offset, (len(block), len(self.offset)))
        rest = np.zeros_like(total)
        for digit in self.digits:
            part = (block[:, digit.features] @ digit.weights) * digit.unit
            total, lost = two_sum(total, part)
            rest += lost
        return total + rest


def fold(grid: Grid, mean: Float64, scale: Float64, components: Float64) -> Projection:
    """Fold standardization into the components. `mean`, `scale`: float64[d]; `components`: float64[k, d].

    A feature of scale 0 counts for nothing.
    """
    width_bits = math.ceil(math.log2(max(2, len(mean))))
    grid_bits = BITS + width_bits + _MARGIN_BITS
    # Per unit of the grid of features. Features minus their center are below 2**24 in absolute value, digits at most
    # 2**(digit_bits - 1).
    inverse = np.divide(grid.step, scale, out=np.zeros_like(scale), where=scale > 0)
    rest = np.rint(components.T * inverse[:, np.newaxis] * 2.0**grid_bits)
    digit_bits = _FLOAT64_BITS - BITS - width_bits + 1
    center_exact = (mean - grid.low) / grid.step
    center = np.rint(center_exact)
    products = rest * (center_exact - center)[:, np.newaxis]
    offset = np.array([math.fsum(column) for column in products.T.tolist()]) * 2.0**-grid_bits
    digits: list[_Digit] = []
    unit = 2.0**-grid_bits
    while rest.any():
        higher = np.rint(rest * 2.0**-digit_bits)
        digits.append(_digit(rest - higher * 2.0**digit_bits, unit))
        rest, unit = higher, unit * 2.0**digit_bits
    return Projection(grid, center, offset, tuple(reversed(digits)))


def _digit(weights: Float64, unit: float) -> _Digit:
    present = weights.any(axis=1)
    if present.mean() > 0.5:
        return _Digit(slice(None), np.ascontiguousarray(weights), unit)
    return _Digit(np.flatnonzero(present), np.ascontiguousarray(weights[present]), unit)
