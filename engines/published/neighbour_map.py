"""The map that a check has drawn, and where other photos lie on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from engines.core.layout import check_folder, layout_key
from engines.core.neighbours import nearest
from engines.core.proof.reading import read_table
from engines.core.storage import open_storage
from engines.published.rows import PublishedRows

_PLACED_BY = 4

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class NeighbourMap:
    """Some published photos on a plane where neighbours stay neighbours.

    `rows`: int64[m], their numbers; `values`: float32[m, k], their results; `plane`: float64[m, 2], in [-1, 1].
    """

    rows: npt.NDArray[np.int64]
    values: Float32
    plane: Float64

    @classmethod
    def of(cls, layout: pa.Table, rows: PublishedRows) -> NeighbourMap:
        """From tables.LAYOUT; a photo that is not among `rows` is left out."""
        found = pc.index_in(layout["path"], value_set=rows.paths).combine_chunks()
        there = np.flatnonzero(found.is_valid().to_numpy(zero_copy_only=False))
        chosen = found.take(pa.array(there)).to_numpy().astype(np.int64)
        plane = np.stack([layout[name].to_numpy().astype(np.float64)[there] for name in ("x", "y")], axis=1)
        return cls(chosen, rows.values[chosen], plane)

    def place(self, vectors: Float32) -> Float64:
        """Where photos of these results (float32[n, k]) lie, float64[n, 2]: those of the map where they are, others at
        the mean of the places of the nearest four on it, by the inverse square of their distance.
        """
        found = nearest(vectors, self.values, _PLACED_BY)
        squares = found.distances**2
        same = squares == 0
        least = squares.min(axis=1, keepdims=True)
        weights = np.where(same.any(axis=1, keepdims=True), same, least / np.where(same, 1, squares))
        weights /= weights.sum(axis=1, keepdims=True)
        placed: Float64 = np.einsum("np,npd->nd", weights, self.plane[found.rows])
        return placed


def read_map(output: str, check: str, rows: PublishedRows) -> NeighbourMap:
    """The map of a check of `rows`, by the check's version."""
    return NeighbourMap.of(read_table(open_storage(output), layout_key(check_folder(check))), rows)
