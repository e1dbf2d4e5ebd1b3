"""The limits of fit and of writing: numpy's syrk and eigh on an array in memory, and pyarrow's parquet of the results.

`FEATURES RESULTS --cores N`. The products are corrected by the means, which is the fastest way, and loses digits where
means are large: the chain does not.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from threadpoolctl import threadpool_limits

from engines.core import tables
from tests.benchmarks.recipes.arguments import COMPONENTS, answer


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("features", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--cores", type=int, required=True)
    chosen = parser.parse_args()
    table = ds.dataset(sorted(chosen.features.glob("*.parquet"))).to_table()
    rows = tables.to_matrix(table["features"]).astype(np.float64)
    results = table.select(["path", "label"]).append_column(
        "pcaFeatures",
        tables.to_lists(rows[:, :COMPONENTS].astype(np.float32), tables.RESULTS.field("pcaFeatures").type),
    )
    count = len(rows)
    with threadpool_limits(chosen.cores):
        np.linalg.eigh(np.eye(64) @ np.ones((64, 64)))  # its threads
        start = time.perf_counter()
        means = rows.mean(axis=0)
        covariance = (rows.T @ rows - count * np.outer(means, means)) / (count - 1)  # syrk: it is its own transpose
        scale = np.sqrt(np.diagonal(covariance))
        np.linalg.eigh(covariance / np.outer(scale, scale))
        fit = time.perf_counter() - start
    start = time.perf_counter()
    pq.write_table(results, chosen.results)
    answer(count, fit=fit, write=time.perf_counter() - start)


if __name__ == "__main__":
    main()
