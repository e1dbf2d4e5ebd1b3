"""The largest eigenpairs of a correlation matrix, with bits that do not depend on the LAPACK that found them.

`eigh` proposes, `refinement` corrects until every rounding to the stored grid is `decided`, and where eigenvalues are
equal and the data decide nothing, `subspace` chooses by a rule.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from engines.core.reduce.moments import Float64
from engines.core.reduce.refinement import (
    CLUSTER_GAP,
    MATRIX_GRID,
    SplitMatrix,
    Vectors,
    clusters_of,
    refined,
    shifts,
)
from engines.core.reduce.rounding import decided
from engines.core.reduce.subspace import basis_beside, basis_of

VECTOR_GRID_BITS = 44
"""Components are stored as multiples of 2**-44 = 5.7e-14."""

VALUE_GRID_BITS = 42
"""The eigenvalues of stored components: multiples of 2**-42 = 2.3e-13."""

SPECTRUM_GRID_BITS = 32
"""The other eigenvalues, which nobody refines: multiples of 2**-32 = 2.3e-10."""

_LAPACK_ERROR = 64 * np.finfo(np.float64).eps
"""What an eigenvalue of `eigh` may be off, as a share of the largest one; a few eps are usual."""

_MORE = 8
"""So many more eigenpairs than asked for may be refined, to end where the next eigenvalue is far."""


@dataclass(frozen=True, eq=False)
class Eigenpairs:
    """All eigenvalues float64[d], falling, and the first k eigenvectors float64[k, d].

    Numbers of components, from 1. `tied`: eigenvalues so close to another one that the data do not determine the
    vector: it was chosen by a rule from the space of all of them. `unsettled`: a rounding could not be decided, so that
    another BLAS may give another last bit; not met so far.
    """

    values: Float64
    vectors: Float64
    tied: tuple[int, ...]
    unsettled: tuple[int, ...]


def largest_eigenpairs(matrix: Float64, count: Callable[[Float64], int]) -> Eigenpairs:
    """The first `count(eigenvalues)` eigenpairs of a symmetric, positive semidefinite matrix with entries in [-1, 1].

    The matrix is rounded to MATRIX_GRID. In each vector the entry of largest absolute value (the first of them) is
    positive.
    """
    matrix = np.rint(matrix / MATRIX_GRID) * MATRIX_GRID
    values, vectors = np.linalg.eigh(matrix)
    values, vectors = values[::-1].clip(min=0.0), np.ascontiguousarray(vectors[:, ::-1])
    split = SplitMatrix(matrix)
    spectrum, settled = _spectrum(split, values, vectors)
    k = count(spectrum)
    equal_from = _equal_from(spectrum)
    iterations = refined(split, values, vectors, min(_enough(spectrum, k), equal_from))
    for parts, current, clusters, error in iterations:
        pairs = _rounded(spectrum, parts, current, clusters, error, k)
        same_clusters = clusters_of(pairs.values[: min(k, equal_from)]) == _within(clusters, k)
        if not pairs.unsettled and same_clusters:
            break
    return pairs if settled or pairs.unsettled else replace(pairs, unsettled=tuple(range(1, k + 1)))


def _spectrum(split: SplitMatrix, values: Float64, vectors: Float64) -> tuple[Float64, bool]:
    """All eigenvalues on their grid. The few that LAPACK leaves near a boundary become Rayleigh quotients first."""
    spectrum, sure = decided(values, np.zeros_like(values), SPECTRUM_GRID_BITS, _LAPACK_ERROR * values[0])
    doubtful = np.flatnonzero(~sure)
    if len(doubtful):
        theta = shifts(values[doubtful])
        some = Vectors.of(vectors[:, doubtful])
        residuals = split.residuals(some, theta)
        offset = (some.high * residuals).sum(axis=0)
        # Kato and Temple: off by the square of the residual over the distance to the next eigenvalue.
        length = np.linalg.norm(residuals - some.high * offset, axis=0)
        distances = np.abs(np.diff(values, prepend=np.inf, append=-np.inf))
        nearest = np.minimum(distances[:-1], distances[1:])[doubtful] - _LAPACK_ERROR * values[0]
        error = length * np.minimum(1.0, length / nearest.clip(min=np.finfo(np.float64).tiny))
        spectrum[doubtful], sure = decided(theta, offset, SPECTRUM_GRID_BITS, 4 * error + 2.0**-80)
    return np.minimum.accumulate(spectrum), bool(sure.all())


def _equal_from(spectrum: Float64) -> int:
    """From where on all eigenvalues count as equal (mostly: are 0); d if only the last one is left."""
    apart = np.flatnonzero(spectrum[:-1] - spectrum[1:] > CLUSTER_GAP)
    first = int(apart[-1]) + 1 if len(apart) else 0
    return first if first < len(spectrum) - 1 else len(spectrum)


def _enough(spectrum: Float64, k: int) -> int:
    """How many eigenpairs to refine: k, and on to a wide gap."""
    after = np.append(spectrum[1:], -np.inf)
    gaps = spectrum - after
    stop = k - 1 + int(gaps[k - 1 : k + _MORE].argmax())
    while gaps[stop] <= 16 * CLUSTER_GAP:
        stop += 1
    return stop + 1


def _within(clusters: list[list[int]], k: int) -> list[list[int]]:
    """The clusters, cut off at k; of more than one member still."""
    cut = [[member for member in members if member < k] for members in clusters]
    return [members for members in cut if len(members) > 1]


def _rounded(
    spectrum: Float64, parts: Float64, vectors: Vectors, clusters: list[list[int]], error: float, k: int
) -> Eigenpairs:
    refined_count = vectors.high.shape[1]
    kept = min(k, refined_count)
    high, low = np.empty((len(spectrum), k)), np.empty((len(spectrum), k))
    high[:, :kept], low[:, :kept] = vectors.high[:, :kept], vectors.low[:, :kept]
    # The correction that was made last bounds what is left to correct; far below it, once it is small.
    errors = np.full(k, max(4 * error, 2.0**-88))
    tied: list[int] = []
    chosen = [(members[0], min(members[-1] + 1, k), vectors.columns(members)) for members in clusters if members[0] < k]
    for start, stop, space in chosen:
        basis = basis_of(space, stop - start)
        high[:, start:stop], low[:, start:stop] = basis.high, basis.low
        tied += range(start, stop)
    if k > refined_count:
        basis = basis_beside(vectors, k - refined_count)
        high[:, kept:], low[:, kept:] = basis.high, basis.low
        tied += range(kept, k)
    errors[tied] *= len(spectrum)
    rounded, sure = decided(high, low, VECTOR_GRID_BITS, errors)
    values = spectrum.copy()
    values[:kept], sure_values = decided(
        parts[0, :kept], parts[1, :kept], VALUE_GRID_BITS, max(1.0, spectrum[0]) * errors[:kept]
    )
    settled = np.asarray(sure.all(axis=0))
    settled[:kept] &= sure_values
    rows = np.ascontiguousarray(rounded.T)
    peaks = rows[np.arange(k), np.abs(rows).argmax(axis=1)]
    return Eigenpairs(
        values=np.minimum.accumulate(values.clip(min=0.0)),
        vectors=rows * np.sign(peaks)[:, np.newaxis] + 0.0,
        tied=tuple(number + 1 for number in tied),
        unsettled=tuple((np.flatnonzero(~settled) + 1).tolist()),
    )
