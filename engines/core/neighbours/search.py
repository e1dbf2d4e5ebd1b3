"""Exact k-nearest-neighbour search by Euclidean distance, in blocks of the distance matrix.

A BLAS product in float32 finds the candidates: rows whose distance, within the error of that product, may be among the
k smallest. Their distances are then computed again from the differences, in float64 and with additions in a fixed
order, and these decide; equal distances go by the number of the row. So what is found, and every bit of the distances,
depends on the vectors alone: not on the BLAS, the blocks, the threads or the CPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

_QUERIES_PER_BLOCK = 512
_ROWS_PER_BLOCK = 8192
"""17 MB of distances at a time."""

_PAIRS_PER_BLOCK = 2**15
"""Candidates whose differences are in memory at once: 34 MB for 128 dimensions."""

_UNIT = {np.float32: 2.0**-24, np.float64: 2.0**-53}
"""Half of the distance from 1 to the next number."""

_MOST_OF_FLOAT32 = 2.0**120
"""Squared lengths up to here have sums that float32 can hold."""


@dataclass(frozen=True, eq=False)
class Nearest:
    """The nearest rows of each query, nearest first; equal distances in the order of the rows.

    `rows`: int64[m, k], numbers of rows in the order they were added; `distances`: float64[m, k]. k is smaller than
    what was asked for where there are not so many rows.
    """

    rows: Int64
    distances: Float64


def nearest(queries: Float32, rows: Float32, k: int, own: Int64 | None = None) -> Nearest:
    """The `k` nearest of `rows` (float32[n, d]) for each of `queries` (float32[m, d]). See NearestSearch."""
    search = NearestSearch(queries, k, own)
    search.add(rows)
    return search.result()


class NearestSearch:
    """A search over rows that come in blocks of any size, so that they need not be in memory together.

    `queries`: float32[m, d]. `own`: int64[m], the number of the row that each query itself is, and which does not count
    (leave one out). Memory besides queries and rows: some 100 MB at most, for any n.
    """

    def __init__(self, queries: Float32, k: int, own: Int64 | None = None) -> None:
        if k < 1:
            raise ValueError(f"k cannot be {k}")
        self._queries = queries
        self._norms = _norms(queries)
        self._own = own
        self._added = 0
        self._squares = np.full((len(queries), k), np.inf)
        self._rows = np.full((len(queries), k), -1, np.int64)

    def add(self, rows: Float32) -> None:
        """Take in the next rows, float32[n, d]."""
        for start in range(0, len(rows), _ROWS_PER_BLOCK):
            block = rows[start : start + _ROWS_PER_BLOCK]
            norms = _norms(block)
            for first in range(0, len(self._queries), _QUERIES_PER_BLOCK):
                self._add(block, norms, slice(first, first + _QUERIES_PER_BLOCK))
            self._added += len(block)

    def result(self) -> Nearest:
        """What is nearest among the rows so far."""
        found = int((self._rows >= 0).sum(axis=1).min(initial=self._rows.shape[1]))
        return Nearest(self._rows[:, :found].copy(), np.sqrt(self._squares[:, :found]))

    def _add(self, block: Float32, norms: Float64, part: slice) -> None:
        queries = self._queries[part]
        query_norms = self._norms[part]
        most = float(norms.max(initial=0.0))
        kind: Any = np.float32 if max(most, float(query_norms.max(initial=0.0))) < _MOST_OF_FLOAT32 else np.float64
        # The squared distance, but for the query's own norm: |y|**2 - 2 x y.
        rough = (queries * kind(-2)) @ block.astype(kind, copy=False).T
        rough += norms.astype(kind)
        if self._own is not None:
            own = self._own[part] - self._added
            here = np.flatnonzero((own >= 0) & (own < len(block)))
            rough[here, own[here]] = np.nan  # below no bound, and behind all others
        # Of d + 1 terms, in any order: |error| <= (d + 2) u (2 |x| |y| + |y|**2) <= (d + 2) u (|x|**2 + 2 |y|**2);
        # doubled, for what is rounded besides.
        terms = block.shape[1] + 4
        error = 2 * terms * _UNIT[kind] * (query_norms + 2 * most) + terms * float(np.finfo(kind).tiny)
        k = self._squares.shape[1]
        bound = self._squares[part, -1] - query_norms
        if not np.isfinite(bound).all() and k < len(block):
            bound = np.fmin(bound, np.partition(rough, k - 1, axis=1)[:, k - 1] + error)
        # Rounded up where it is not a float32.
        limit = np.nextafter(np.minimum(bound + error, np.finfo(kind).max / 2).astype(kind), kind(np.inf))
        near_query, near_row = np.nonzero(rough <= limit[:, np.newaxis])
        squares = np.empty(len(near_query))
        for start in range(0, len(near_query), _PAIRS_PER_BLOCK):
            pairs = slice(start, start + _PAIRS_PER_BLOCK)
            differences = queries[near_query[pairs]].astype(np.float64) - block[near_row[pairs]]
            squares[pairs] = _sums(differences**2)
        self._merge(part, near_query, squares, near_row + self._added)

    def _merge(self, part: slice, query: Int64, squares: Float64, rows: Int64) -> None:
        """Keep, for each query of `part`, the k smallest of what it had and of the new candidates."""
        former_squares, former_rows = self._squares[part], self._rows[part]
        count, k = former_squares.shape
        every_query = np.concatenate([np.repeat(np.arange(count), k), query])
        every_square = np.concatenate([former_squares.ravel(), squares])
        every_row = np.concatenate([former_rows.ravel(), rows])
        order = np.lexsort((every_row, every_square, every_query))
        first = np.searchsorted(every_query[order], np.arange(count))
        kept = order[first[:, np.newaxis] + np.arange(k)]
        self._squares[part], self._rows[part] = every_square[kept], every_row[kept]


def _norms(values: Float32) -> Float64:
    """The squared length of each row, float64[n]."""
    wide = values.astype(np.float64)
    norms: Float64 = np.einsum("ij,ij->i", wide, wide)
    return norms


def _sums(values: Float64) -> Float64:
    """The sum of each row of `values`, float64[n, d], which is used up. Halves are added, so the order is fixed."""
    width = values.shape[1]
    while width > 1:
        half = width // 2
        values[:, :half] += values[:, width - half : width]
        width -= half
    return values[:, 0].copy()
