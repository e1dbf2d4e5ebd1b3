"""The same LiteRT network as the chain's, as a class that other engines call on batches of files."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from engines.core.networks.prepare import prepare_model
from engines.core.networks.runtimes import open_runtime
from flows.checks import cache_folder
from tests.benchmarks.recipes.arguments import COMPONENTS


class Featurizer:
    """Reads the model from the user's cache; one interpreter with one thread."""

    def __init__(self, weights: str) -> None:
        self.runtime = open_runtime(prepare_model(weights, "litert", cache_folder()))

    def features(self, content: bytes) -> npt.NDArray[np.float32]:
        """float32[1280] of one file."""
        image = Image.open(io.BytesIO(content)).convert("RGB").resize((224, 224))
        return self.runtime.features(np.asarray(image))


def reduce(paths: list[str], features: npt.NDArray[np.float32], output: Path) -> None:
    """Standardize, PCA and parquet, with scikit-learn in this process."""
    reduced = PCA(COMPONENTS, svd_solver="covariance_eigh").fit_transform(StandardScaler().fit_transform(features))
    output.mkdir(exist_ok=True)
    table = {
        "path": paths,
        "label": [Path(path).parent.name for path in paths],
        "pcaFeatures": list(reduced.astype(np.float32)),
    }
    pq.write_table(pa.table(table), output / "results.parquet")
