"""`usearch`: an index for fast approximate search, and the rows its keys are numbers of."""

from __future__ import annotations

import os

import numpy as np

from engines.published.export.base import Exported, missing_package


def write_usearch(rows: Exported, folder: str) -> None:
    """Write `index.usearch` (float32, squared Euclidean distance; keys count from 0), `rows.parquet`, `vectors.json`.

    Memory: the index. Raises InputError without `usearch`.
    """
    try:
        from usearch.index import Index
    except ModuleNotFoundError as error:
        raise missing_package("usearch", error) from error
    index = Index(ndim=rows.record.components, metric="l2sq", dtype="f32")
    done = 0
    for vectors in rows.vectors_beside_rows(folder):
        if len(vectors):
            index.add(np.arange(done, done + len(vectors), dtype=np.uint64), vectors)
        done += len(vectors)
    index.save(os.path.join(folder, "index.usearch"))
