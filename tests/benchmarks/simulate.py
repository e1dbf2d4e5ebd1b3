"""`python -m tests.benchmarks.simulate SOURCE OUTPUT WEIGHTS`: a catalog, and features as featurize writes them.

The features are made up: what a network's are like (not negative, half of them near 0, correlated, with a spectrum that
falls slowly), on the network's grid, in the very files that featurize writes.
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import numpy.typing as npt

from engines.core.index.catalog import Shard, read_shard_entries, write_catalog
from engines.core.index.selection import Selection
from engines.core.networks.model import Model, publish_model
from engines.core.networks.prepare import prepare_model
from engines.core.stages.limits import PhotoLimits
from engines.core.stages.shard_files import photos_digest, write_shard
from flows.checks import cache_folder
from tests.benchmarks.machine import usable

_FACTORS = 600
_LARGEST = 6.0
"""Of a feature: the network ends in ReLU6, and a mean of it."""


def main(source: str, output: str, weights: str) -> None:
    """Write them, with a process a core."""
    model = prepare_model(weights, "litert", cache_folder())
    publish_model(model, output)
    shards = write_catalog(source, output, Selection()).shards
    loadings = _loadings(model.network.features)
    with ProcessPoolExecutor(usable(), get_context("spawn"), _start, (output, model, loadings)) as pool:
        for _ in pool.map(_write, shards, chunksize=8):
            pass


def features_like(rows: int, loadings: npt.NDArray[np.float32], seed: int) -> npt.NDArray[np.float32]:
    """float32[rows, d] in [0, 6]."""
    random = np.random.default_rng(seed)
    factors = random.standard_normal((rows, len(loadings)), dtype=np.float32)
    noise = random.standard_normal((rows, loadings.shape[1]), dtype=np.float32)
    return np.clip(factors @ loadings + 0.3 * noise - 0.2, 0, _LARGEST)


def _loadings(width: int) -> npt.NDArray[np.float32]:
    strengths = np.arange(1, _FACTORS + 1, dtype=np.float32)[:, np.newaxis] ** -0.7
    return np.random.default_rng(0).standard_normal((_FACTORS, width), dtype=np.float32) * strengths * 0.5


_shared: tuple[str, Model, npt.NDArray[np.float32]]


def _start(output: str, model: Model, loadings: npt.NDArray[np.float32]) -> None:
    global _shared  # noqa: PLW0603 - once for each process
    _shared = output, model, loadings


def _write(shard: Shard) -> None:
    output, model, loadings = _shared
    entries = read_shard_entries(output, shard)
    features = model.network.grid.snap(features_like(len(entries), loadings, int(shard.id[:12], 16)))
    write_shard(
        output,
        model.fingerprint,
        shard,
        kept=entries,
        features=features,
        rejects=[],
        photos=photos_digest([]),
        limits=PhotoLimits(),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
