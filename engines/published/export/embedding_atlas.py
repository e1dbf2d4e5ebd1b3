"""`embedding-atlas`: a table for Apple's Embedding Atlas, with places and neighbours computed here."""

from __future__ import annotations

import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from engines.core import tables
from engines.core.neighbours import nearest
from engines.published.export.base import VECTOR, Exported

NEIGHBOURS = 10


def write_embedding_atlas(rows: Exported, folder: str) -> None:
    """Write `results.parquet` with `x`, `y` (the first two components) and `neighbors`, beside the results' columns.

    `neighbors` has NEIGHBOURS other rows, exact: {"ids": numbers of rows from 0, "distances"}. Open it with
    `embedding-atlas results.parquet --x x --y y --neighbors neighbors`. Memory: all rows.
    """
    table = pa.concat_tables(rows.parts()).replace_schema_metadata(None)
    matrix = tables.to_matrix(table[VECTOR])
    found = nearest(matrix, matrix, NEIGHBOURS, np.arange(len(matrix)))
    count = found.rows.shape[1]
    offsets = np.arange(len(matrix) + 1, dtype=np.int32) * count
    neighbours = pa.StructArray.from_arrays(
        [
            pa.ListArray.from_arrays(offsets, found.rows.ravel()),
            pa.ListArray.from_arrays(offsets, found.distances.ravel()),
        ],
        names=["ids", "distances"],
    )
    y = matrix[:, 1] if matrix.shape[1] > 1 else np.zeros(len(matrix), np.float32)
    for name, values in (("x", pa.array(matrix[:, 0])), ("y", pa.array(y)), ("neighbors", neighbours)):
        table = table.append_column(name, values)
    pq.write_table(table, os.path.join(folder, "results.parquet"), compression="zstd")
