"""`npy`: one matrix for NumPy, and the rows it belongs to."""

from __future__ import annotations

import os

import numpy as np

from engines.published.export.base import Exported


def write_npy(rows: Exported, folder: str) -> None:
    """Write `vectors.npy` (float32[n, k]), `rows.parquet` (everything else, in the same order) and `vectors.json`.

    Memory: one part. The matrix may be opened with `mmap_mode="r"`.
    """
    shape = (rows.rows, rows.record.components)
    matrix = np.lib.format.open_memmap(os.path.join(folder, "vectors.npy"), "w+", np.dtype("<f4"), shape)
    done = 0
    for vectors in rows.vectors_beside_rows(folder):
        matrix[done : done + len(vectors)] = vectors
        done += len(vectors)
    matrix.flush()
