"""`embedding-atlas`: a table for Apple's Embedding Atlas, with places and neighbours computed here."""

from __future__ import annotations

import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from engines.core import tables
from engines.core.neighbours import nearest
from engines.core.quality.figures import latest_quality
from engines.core.quality.layout import first_two
from engines.published.export.base import VECTOR, Exported
from engines.published.neighbour_map import read_map
from engines.published.rows import PublishedRows

NEIGHBOURS = 10


def write_embedding_atlas(rows: Exported, folder: str) -> None:
    """Write `results.parquet` with `x`, `y` and `neighbors`, beside the results' columns.

    `x`, `y`: the map of the newest check of these results, whose photos are a sample: others are placed among them. The
    first two components where there was no check; the table's metadata say which (`map`). `neighbors` has NEIGHBOURS
    other rows, exact: {"ids": numbers of rows from 0, "distances"}. Open it with
    `embedding-atlas results.parquet --x x --y y --neighbors neighbors`. Memory: all rows.
    """
    table = pa.concat_tables(rows.parts())
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
    check = latest_quality(rows.output, rows.record)
    if check is None:
        kind, plane = "first two components", first_two(matrix)
    else:
        published = PublishedRows(table["path"], table["label"], matrix)
        kind = "neighbours stay neighbours"
        plane = read_map(rows.output, check.check, published).place(matrix).astype(np.float32)
    for name, values in (("x", pa.array(plane[:, 0])), ("y", pa.array(plane[:, 1])), ("neighbors", neighbours)):
        table = table.append_column(name, values)
    table = table.replace_schema_metadata({"map": kind})
    pq.write_table(table, os.path.join(folder, "results.parquet"), compression="zstd")
