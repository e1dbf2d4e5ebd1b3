"""Standardize, PCA and parquet in one process, with scikit-learn: what one writes without a cluster."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from tests.benchmarks.recipes.arguments import COMPONENTS, Recipe


def reduce(paths: list[str], features: npt.NDArray[np.float32], recipe: Recipe) -> None:
    """Write path, label and pcaFeatures of float32[n, 1280] `features` to `output/results`."""
    # The exact solver that is fastest at this shape.
    reduced = PCA(COMPONENTS, svd_solver="covariance_eigh").fit_transform(StandardScaler().fit_transform(features))
    labels = [Path(path).parent.name for path in paths]
    tables = {"results": ("pcaFeatures", reduced.astype(np.float32))}
    if recipe.keep_features:
        tables["features"] = ("features", features)
    for folder, (column, rows) in tables.items():
        (recipe.output / folder).mkdir(parents=True)
        table = pa.table({"path": paths, "label": labels, column: list(rows)})
        pq.write_table(table, recipe.output / folder / "part.parquet")
