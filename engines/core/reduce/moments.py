"""First and second moments of features, exact, so that no order and no grouping can change a bit of them.

Features are kept on a grid (`engines.core.reduce.grid`). There a feature is an integer of 24 bits; split into two
halves of 12 bits, the products of a matrix multiplication and their sums stay below 2**53, so float64 BLAS computes
them without rounding (the error-free splitting of Ozaki et al., "Error-free transformations of matrix multiplication",
Numerical Algorithms 59, 2012). What is summed here are therefore whole numbers: addition is associative, and the
moments depend on the set of rows alone, not on shards, workers, threads, BLAS or CPU. The usual mergeable moments (Chan
et al. 1979) round at every merge; these round once, at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.core.reduce.arrays import dump_arrays, load_arrays
from engines.core.reduce.grid import Grid

MAX_ROWS = 2**36
"""More rows could overflow the 64-bit sums."""

_HALF_BITS = 12
_LOW_BITS = 2 * _HALF_BITS
_BLOCK_ROWS = 1024

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Moments:  # noqa: PLW1641 - nobody hashes 13 MB
    """Sums over n rows of d features, in steps of `grid` above its low end.

    `sums`: int64[d], the sum of each feature. `high`, `low`: int64[d * (d + 1) / 2], the upper triangle, row by row, of
    the sums of products, as `high * 2**24 + low` with 0 <= low < 2**24. 13 MB for 1280 features.
    """

    rows: int
    sums: Int64
    high: Int64
    low: Int64
    grid: Grid

    def __add__(self, other: Moments) -> Moments:
        """The moments of the rows of both; exact. Raises ValueError when they lie on other grids."""
        if self.grid != other.grid:
            raise ValueError(f"moments on {self.grid} and on {other.grid} have no sum")
        rows = self.rows + other.rows
        if rows > MAX_ROWS:
            raise OverflowError(f"{rows:,} rows are more than {MAX_ROWS:,}")
        high, low = _carry(self.high + other.high, self.low + other.low)
        return Moments(rows, self.sums + other.sums, high, low, self.grid)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Moments):
            return NotImplemented
        return (self.rows, self.grid) == (other.rows, other.grid) and all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name in ("sums", "high", "low")
        )


def no_moments(width: int, grid: Grid) -> Moments:
    """The moments of no row of `width` features on `grid`: the neutral element of `+`."""
    triangle = width * (width + 1) // 2
    return Moments(0, np.zeros(width, np.int64), np.zeros(triangle, np.int64), np.zeros(triangle, np.int64), grid)


def moments_of(blocks: Iterable[npt.NDArray[np.float32]], width: int, grid: Grid) -> Moments:
    """The moments of all rows of all blocks; each block is float32[n, width] on `grid` (see Grid.snap).

    Memory: about eight times width**2 float64, and two blocks of _BLOCK_ROWS rows. Raises ValueError for features off
    the grid, InputError for those out of its range.
    """
    total, part = no_moments(width, grid), _Part(width)
    for block in blocks:
        start = 0
        while start < len(block):
            start += part.add(grid.integers(block[start : start + part.room]))
            if part.rows >= 2**24:  # far below 2**53 / 2**26, where float64 would round
                total, part = total + part.moments(grid), _Part(width)
    return total + part.moments(grid)


class _Part:
    """Sums over rows of features as whole numbers of 24 bits, as products of their upper and lower halves.

    Of h and l, the halves of a row, h*h', l*l' and (h + l) * (h + l)' are summed: what is missing of the products of
    whole rows, h*l' + l*h', is the last without the others (Karatsuba). Each is a matrix by its own transpose, which
    BLAS does with half the work of two matrices. Rows wait for _BLOCK_ROWS of them, as adding a product to a sum takes
    as long whatever the number of rows.
    """

    def __init__(self, width: int) -> None:
        self.rows = 0
        self._sums = np.zeros(width, np.int64)
        self._high_high, self._low_low, self._both, self._product = (np.zeros((width, width)) for _ in range(4))
        self._high, self._low = (np.empty((_BLOCK_ROWS, width)) for _ in range(2))
        self._waiting = 0

    @property
    def room(self) -> int:
        """So many rows may be added at once."""
        return _BLOCK_ROWS - self._waiting

    def add(self, whole: Float64) -> int:
        """Add up to `room` rows; how many they were."""
        rows = slice(self._waiting, self._waiting + len(whole))
        high = np.floor(whole * 2.0**-_HALF_BITS, out=self._high[rows])
        np.subtract(whole, high * 2.0**_HALF_BITS, out=self._low[rows])
        self._sums += whole.sum(axis=0).astype(np.int64)
        self.rows += len(whole)
        self._waiting += len(whole)
        if not self.room:
            self._multiply()
        return len(whole)

    def moments(self, grid: Grid) -> Moments:
        """Of all rows."""
        self._multiply()
        upper = np.triu_indices(len(self._sums))
        middle = (self._both - self._high_high - self._low_low)[upper].astype(np.int64)
        low = self._low_low[upper].astype(np.int64) + (middle << _HALF_BITS)
        return Moments(self.rows, self._sums, *_carry(self._high_high[upper].astype(np.int64), low), grid)

    def _multiply(self) -> None:
        high, low = self._high[: self._waiting], self._low[: self._waiting]
        self._high_high += np.matmul(high.T, high, out=self._product)
        self._low_low += np.matmul(low.T, low, out=self._product)
        both = np.add(high, low, out=high)
        self._both += np.matmul(both.T, both, out=self._product)
        self._waiting = 0


def dump_moments(moments: Mapping[str, Moments]) -> bytes:
    """Moments by their names, as npz (no pickle). Equal moments give equal bytes."""
    arrays: dict[str, npt.NDArray[Any]] = {"names": np.array(sorted(moments))}
    for number, name in enumerate(sorted(moments)):
        each = moments[name]
        arrays |= {
            f"{number}-rows": np.array(each.rows),
            f"{number}-grid": np.array([each.grid.low, each.grid.high]),
            **{f"{number}-{field}": getattr(each, field) for field in ("sums", "high", "low")},
        }
    return dump_arrays(arrays)


def load_moments(content: bytes) -> dict[str, Moments]:
    """The inverse of `dump_moments`."""
    arrays = load_arrays(content)
    return {
        str(name): Moments(
            int(arrays[f"{number}-rows"]),
            arrays[f"{number}-sums"],
            arrays[f"{number}-high"],
            arrays[f"{number}-low"],
            Grid(*arrays[f"{number}-grid"].tolist()),
        )
        for number, name in enumerate(arrays["names"])
    }


def standardization(moments: Moments) -> tuple[Float64, Float64]:
    """Mean and sample standard deviation (n - 1) of each feature, float64[d] each; 0 for a constant feature.

    Both are the exact value, rounded once (the deviation once more, by its root). Raises ValueError below 2 rows.
    """
    n, width = _check_rows(moments), len(moments.sums)
    sums = moments.sums.astype(object)
    # Where the rows of the packed triangle start: its diagonal.
    starts = np.concatenate([[0], np.cumsum(np.arange(width, 1, -1))])
    centered = _products(moments, starts) * n - sums * sums
    bits = moments.grid.fraction_bits
    divisor = (n * (n - 1)) << (2 * bits)
    mean = np.array([(total + n * moments.grid.lowest) / (n << bits) for total in sums])
    return mean, np.sqrt([square / divisor for square in centered])


def _products(moments: Moments, which: slice | Int64) -> npt.NDArray[np.object_]:
    """Sums of products at some places of the packed triangle, as exact Python integers."""
    high: npt.NDArray[np.object_] = moments.high[which].astype(object)
    products: npt.NDArray[np.object_] = high * (1 << _LOW_BITS) + moments.low[which]
    return products


def _carry(high: Int64, low: Int64) -> tuple[Int64, Int64]:
    return high + (low >> _LOW_BITS), low & ((1 << _LOW_BITS) - 1)


def _check_rows(moments: Moments) -> int:
    if moments.rows < 2:
        raise ValueError(f"standardization needs at least 2 rows, there are {moments.rows}")
    return moments.rows
