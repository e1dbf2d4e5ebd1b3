"""Images a second: an engine's featurize stage beside the notebook's recipe, on the same photos, in turn.

`python -m tests.benchmarks.featurize_rate [--engine dask] [--images 600] [--rounds 3]`. The baseline is what the
notebook did in each task: Keras' `predict` on batches of decoded images, in one process that has all cores. Prints each
round and the ratio of the medians; nothing is asserted.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from engines import create_engine
from engines.base import FeaturizeRequest, IndexRequest
from engines.core.index.catalog import read_catalog, read_shard_entries
from engines.core.index.selection import Selection
from engines.core.networks.model import Model, publish_model
from engines.core.networks.prepare import prepare_model
from engines.core.sources import Entry
from flows.checks import cache_folder
from tests.conftest import TEST_DATA, TEST_WEIGHTS, write_photos

_BASELINE = """
import io, sys, time
import keras, numpy as np
from PIL import Image
weights, paths = sys.argv[1], open(sys.argv[2], encoding="utf-8").read().split("\\0")
arguments = {"include_top": False, "pooling": "avg", "input_shape": (224, 224, 3)}
network = keras.applications.MobileNetV2(weights=None if weights == "random" else weights, **arguments)
def load(path):
    image = Image.open(path).convert("RGB").resize((224, 224))
    return keras.applications.mobilenet_v2.preprocess_input(np.asarray(image, dtype=np.float32))
network.predict(np.stack([load(path) for path in paths[:32]]), verbose=0)
start = time.perf_counter()
for first in range(0, len(paths), 256):
    network.predict(np.stack([load(path) for path in paths[first:first + 256]]), verbose=0)
print(len(paths) / (time.perf_counter() - start))
"""


def main() -> None:
    """Run both in turn and print their rates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", default="dask")
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    weights = str(TEST_WEIGHTS) if TEST_WEIGHTS.is_file() else "random"
    with tempfile.TemporaryDirectory() as folder:
        source = TEST_DATA if TEST_DATA.is_dir() else write_photos(Path(folder, "photos"), chosen.images, classes=33)
        print(f"photos: {source}, weights: {weights}")
        model = prepare_model(weights, "litert", cache_folder())
        ours, baseline = [], []
        with create_engine(chosen.engine) as engine:
            _featurize(engine, model, source, Path(folder, "warm-up"), per_class=1)
            for number in range(chosen.rounds):
                rate, entries = _featurize(
                    engine, model, source, Path(folder, f"round-{number}"), per_class=max(1, chosen.images // 33)
                )
                ours.append(rate)
                baseline.append(_predict(weights, entries, Path(folder, "paths")))
                print(f"round {number + 1}: {chosen.engine} {ours[-1]:.0f}/s, Keras predict {baseline[-1]:.0f}/s")
    ratio = statistics.median(ours) / statistics.median(baseline)
    print(f"median: {chosen.engine} {statistics.median(ours):.0f}/s, Keras predict {statistics.median(baseline):.0f}/s")
    print(f"ratio: {ratio:.1f}")


def _featurize(engine, model: Model, source: Path, output: Path, per_class: int) -> tuple[float, list[Entry]]:
    """Images a second of the whole featurize stage, and the images."""
    indexed = engine.index(IndexRequest(str(source), str(output), Selection(per_class=per_class, shard_size=64)))
    publish_model(model, str(output))
    start = time.perf_counter()
    engine.featurize(FeaturizeRequest(str(source), str(output), indexed.catalog, model.fingerprint))
    rate = indexed.listed / (time.perf_counter() - start)
    shards = read_catalog(str(output), indexed.catalog).shards
    return rate, [entry for shard in shards for entry in read_shard_entries(str(output), shard)]


def _predict(weights: str, entries: list[Entry], paths: Path) -> float:
    """Images a second of the notebook's recipe, in a process of its own, without its start."""
    paths.write_text("\0".join(entry.path for entry in entries), encoding="utf-8")
    command = [sys.executable, "-c", _BASELINE, weights, str(paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


if __name__ == "__main__":
    main()
