"""Daft with a class UDF, a process a core, around the same LiteRT network; scikit-learn reduces."""

from __future__ import annotations

import sys
import time
from typing import Any

import daft
import numpy as np
from daft.functions import download

from tests.benchmarks.recipes.arguments import answer, parse
from tests.benchmarks.recipes.litert_udf import Featurizer
from tests.benchmarks.recipes.scikit import reduce


def main() -> None:
    """Run it."""
    recipe = parse()
    start = time.perf_counter()
    # Daft imports TensorFlow where it is installed, some seconds; who has the converted network has no need of it.
    sys.modules["tensorflow"] = None  # type: ignore[assignment]

    @daft.cls(max_concurrency=recipe.cores, use_process=True)
    class OnBatches:
        """What Daft calls."""

        def __init__(self) -> None:
            self.featurizer = Featurizer(recipe.weights)

        @daft.method.batch(return_dtype=daft.DataType.fixed_size_list(daft.DataType.float32(), 1280), batch_size=64)
        def features(self, contents: daft.Series) -> list[Any]:
            return [self.featurizer.features(content) for content in contents.to_pylist()]

    files = daft.from_glob_path(f"{recipe.photos}/**/*.jpg").select("path")
    features = OnBatches().features(download(files["path"]))
    rows = files.with_column("features", features).sort("path").to_pydict()
    featurized = time.perf_counter()
    reduce(rows["path"], np.array(rows["features"], dtype=np.float32), recipe)
    answer(len(rows["path"]), featurize=featurized - start, reduce=time.perf_counter() - featurized)


if __name__ == "__main__":
    main()
