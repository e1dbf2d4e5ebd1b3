"""Ray Data with an actor a core around the same LiteRT network; scikit-learn reduces."""

from __future__ import annotations

import os
import time

import numpy as np
import numpy.typing as npt
import ray

from tests.benchmarks.recipes.arguments import answer, parse
from tests.benchmarks.recipes.litert_udf import Featurizer
from tests.benchmarks.recipes.scikit import reduce

Batch = dict[str, npt.NDArray]


class OnBatches(Featurizer):
    """What Ray calls."""

    def __call__(self, batch: Batch) -> Batch:
        """Contents in, features out."""
        return {"path": batch["path"], "features": np.stack([self.features(content) for content in batch["bytes"]])}


def main() -> None:
    """Run it."""
    recipe = parse()
    start = time.perf_counter()
    ray.init(num_cpus=recipe.cores + 1, include_dashboard=False, log_to_driver=False)  # one reads, as theirs do
    ray.data.DataContext.get_current().enable_progress_bars = False
    files = ray.data.read_binary_files(str(recipe.photos), include_paths=True, file_extensions=["jpg"])
    rows = files.map_batches(
        OnBatches,
        fn_constructor_args=(recipe.weights,),
        batch_size=64,
        compute=ray.data.ActorPoolStrategy(size=recipe.cores),
        num_cpus=1,
    )
    table = rows.to_pandas()
    featurized = time.perf_counter()
    table = table.sort_values("path")
    reduce(table["path"].tolist(), np.stack(table["features"].to_numpy()), recipe)
    answer(len(table), featurize=featurized - start, reduce=time.perf_counter() - featurized)
    ray.shutdown()


if __name__ == "__main__":
    os.environ["RAY_DISABLE_IMPORT_WARNING"] = "1"
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    main()
