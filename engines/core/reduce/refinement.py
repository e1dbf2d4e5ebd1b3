"""Eigenvectors beyond float64: what LAPACK found, corrected until its last bits do not matter any more.

LAPACK's `eigh` is right to about 1e-13, and which 1e-13 depends on the BLAS, hence on the CPU. Here the residual
(C - theta) x of each wanted eigenpair is computed to 1e-29, by products of matrices cut into digits of few bits that
float64 BLAS adds without rounding (Ozaki et al., "Error-free transformations of matrix multiplication", Numerical
Algorithms 59, 2012). The residual's parts along all eigenvectors, each over the distance of the eigenvalues, are the
correction: the iteration of Ogita and Aishima ("Iterative refinement for symmetric eigenvalue decomposition", Japan J.
Indust. Appl. Math. 35, 2018) for a subset of the eigenpairs. It at least doubles the number of right digits while
eigenvectors are wrong by less than the distance of their eigenvalues; as in their second paper (36, 2019) for clusters,
vectors whose eigenvalues are (nearly) equal are kept orthonormal only: each is arbitrary, the space they span is not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engines.core.reduce.moments import Float64
from engines.core.reduce.two_sum import two_sum

MATRIX_GRID = 2.0**-52
"""The matrix is a multiple of this, its entries in [-1, 1]."""

CLUSTER_GAP = 2.0**-30
"""Eigenvalues of neighbours that are no further apart than 9e-10 count as equal."""

VECTOR_BITS = 103
"""Vectors are kept as two numbers: a multiple of 2**-51, and a multiple of 2**-103."""

_HIGH_BITS = 51
_MATRIX_DIGIT_BITS, _MATRIX_DIGITS = 18, 3
_THETA_BITS = (16, 43)
_NEGLIGIBLE_BITS = 104
_MAX_ITERATIONS = 8


@dataclass(frozen=True, eq=False)
class Vectors:
    """Columns high + low: float64[d, m] each, see VECTOR_BITS."""

    high: Float64
    low: Float64

    @classmethod
    def of(cls, vectors: Float64) -> Vectors:
        """Entries in [-1, 1], rounded to the grid of `high`."""
        return cls(np.rint(vectors * 2.0**_HIGH_BITS) * 2.0**-_HIGH_BITS, np.zeros_like(vectors))

    def corrected(self, correction: Float64) -> Vectors:
        """This plus `correction`, rounded to the grid of `low`."""
        total, lost = two_sum(self.high, correction)
        high = np.rint(total * 2.0**_HIGH_BITS) * 2.0**-_HIGH_BITS
        rest = (total - high) + (self.low + lost)
        carry = np.rint(rest * 2.0**_HIGH_BITS) * 2.0**-_HIGH_BITS
        low = np.rint((rest - carry) * 2.0**VECTOR_BITS) * 2.0**-VECTOR_BITS
        return Vectors(high + carry, low)

    def columns(self, which: slice | list[int]) -> Vectors:
        """Some of the columns."""
        return Vectors(self.high[:, which], self.low[:, which])

    def integers(self) -> npt.NDArray[np.object_]:
        """In units of 2**-VECTOR_BITS, as Python integers."""
        high = (self.high * 2.0**_HIGH_BITS).astype(np.int64).astype(object)
        integers: npt.NDArray[np.object_] = high * (1 << (VECTOR_BITS - _HIGH_BITS)) + (
            self.low * 2.0**VECTOR_BITS
        ).astype(np.int64)
        return integers


class SplitMatrix:
    """A symmetric matrix float64[d, d] on MATRIX_GRID, cut into digits for exact products."""

    def __init__(self, matrix: Float64) -> None:
        width_bits = math.ceil(math.log2(max(2, len(matrix))))
        self._digits = list(_digits(matrix, _MATRIX_DIGIT_BITS - 1, _MATRIX_DIGIT_BITS, _MATRIX_DIGITS))
        # Of products of two digits, d may be added below 2**53.
        self._vector_digit_bits = min(26, 55 - _MATRIX_DIGIT_BITS - width_bits)

    def residuals(self, vectors: Vectors, theta: Float64) -> Float64:
        """(matrix - theta[j]) @ vectors[:, j] for every column; `theta` from `shifts`. Wrong by 1e-29 of d at most."""
        total = np.zeros_like(vectors.high)
        rest = np.zeros_like(total)
        coarse = np.rint(theta * 2.0 ** _THETA_BITS[0]) * 2.0 ** -_THETA_BITS[0]
        for exponent, digit in self._vector_digits(vectors):
            parts = [-coarse * digit, -(theta - coarse) * digit]  # exact: 27 and 26 bits
            for matrix_exponent, matrix_digit in self._digits:
                if exponent + matrix_exponent - 2 * _MATRIX_DIGIT_BITS < _NEGLIGIBLE_BITS:
                    parts.append((matrix_digit @ digit) * 2.0**-matrix_exponent)
            for part in parts:
                total, lost = two_sum(total, part * 2.0**-exponent)
                rest += lost
        return total + rest

    def _vector_digits(self, vectors: Vectors) -> Iterator[tuple[int, Float64]]:
        bits = self._vector_digit_bits
        count = math.ceil((_HIGH_BITS + 1) / bits)
        yield from _digits(vectors.high, bits - 1, bits, count)
        if vectors.low.any():
            yield from _digits(vectors.low, _HIGH_BITS + bits, bits, count)


def shifts(values: Float64) -> Float64:
    """Eigenvalues rounded to what `SplitMatrix.residuals` takes: multiples of 2**-43, below 2**11."""
    return np.rint(values * 2.0 ** _THETA_BITS[1]) * 2.0 ** -_THETA_BITS[1]


def refined(
    matrix: SplitMatrix, values: Float64, vectors: Float64, count: int
) -> Iterator[tuple[Float64, Vectors, list[list[int]], float]]:
    """Refine the first `count` eigenpairs, from all of LAPACK's: values[d], vectors[d, d], in falling order.

    Yields after each iteration: eigenvalues float64[2, count] (two parts whose sum they are), vectors, the clusters of
    neighbours with equal eigenvalues (more than one each), and a bound on what the vectors may still be wrong by.
    Stops after a few iterations, whatever was reached.
    """
    current = Vectors.of(vectors[:, :count])
    theta = shifts(values[:count])
    offset = np.zeros(count)
    diagonal = np.arange(count)
    for _ in range(_MAX_ITERATIONS):
        clusters = clusters_of(theta + offset)
        theta = shifts(theta + offset)
        for members in clusters:
            theta[members] = theta[members[0]]
        basis = np.concatenate([current.high, vectors[:, count:]], axis=1)
        residuals = matrix.residuals(current, theta)
        along = basis.T @ residuals
        offset = along[diagonal, diagonal].copy()
        gaps = np.empty_like(along)
        gaps[:count] = (theta - theta[:, np.newaxis]) + (offset - offset[:, np.newaxis])
        gaps[count:] = (theta + offset) - values[count:, np.newaxis]
        gaps[diagonal, diagonal] = 1.0
        for members in clusters:
            gaps[np.ix_(members, members)] = 1.0
        factors = along / gaps
        for members in clusters:
            inner = along[np.ix_(members, members)]
            offset[members] = np.linalg.eigvalsh((inner + inner.T) / 2)[::-1]
        _keep_orthonormal(current, factors, clusters)
        correction = basis @ factors
        current = current.corrected(correction)
        yield np.stack([theta, offset]), current, clusters, float(np.abs(correction).max(initial=0.0))


def _keep_orthonormal(vectors: Vectors, factors: Float64, clusters: list[list[int]]) -> None:
    """Fill in what brings each vector to length 1, and those of a cluster at right angles."""
    factors[np.diag_indices(vectors.high.shape[1])] = _missing_lengths(vectors) / 2
    unit = 1 << (2 * VECTOR_BITS)
    for members in clusters:
        integers = vectors.columns(members).integers()
        products = integers.T @ integers
        missing = (np.identity(len(members), dtype=int).astype(object) * unit - products) / unit
        factors[np.ix_(members, members)] = missing.astype(np.float64) / 2


def _missing_lengths(vectors: Vectors) -> Float64:
    """1 - the square of each column's length, to 1e-30."""
    bits = 26
    words = (_digits(vectors.high, bits - 1, bits, 2), _digits(vectors.low, _HIGH_BITS + bits, bits, 2))
    digits = [digit.astype(np.int64) for word in words for _, digit in word]
    totals = [0] * vectors.high.shape[1]
    for start in range(0, len(vectors.high), 4096):  # products are below 2**51: 4096 of them stay below 2**63
        block = [digit[start : start + 4096] for digit in digits]
        for i, left in enumerate(block):
            for j, right in enumerate(block):
                sums = (left * right).sum(axis=0).tolist()
                shift = bits * (6 - i - j)
                totals = [total + (part << shift) for total, part in zip(totals, sums, strict=True)]
    unit = 1 << (2 * VECTOR_BITS)
    return np.array([(unit - total) / unit for total in totals])


def clusters_of(values: Float64) -> list[list[int]]:
    """Runs of neighbours that are no further apart than CLUSTER_GAP, of more than one."""
    runs: list[list[int]] = []
    for number in range(len(values)):
        if number and values[number - 1] - values[number] <= CLUSTER_GAP:
            runs[-1].append(number)
        else:
            runs.append([number])
    return [run for run in runs if len(run) > 1]


def _digits(numbers: Float64, exponent: int, bits: int, count: int) -> Iterator[tuple[int, Float64]]:
    """Whole numbers of `bits` bits with sign, the first in units of 2**-exponent, whose sum is `numbers`."""
    rest = numbers
    for number in range(count):
        unit = exponent + number * bits
        digit = np.rint(rest * 2.0**unit)
        yield unit, digit
        rest = rest - digit * 2.0**-unit
