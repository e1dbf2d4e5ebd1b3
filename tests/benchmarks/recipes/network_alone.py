"""The limit: the network on pixels that are in memory already, an interpreter of one thread a core, nothing else."""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np

from engines.core.networks.images import decode
from tests.benchmarks.recipes.arguments import answer, parse
from tests.benchmarks.recipes.litert_udf import Featurizer

_READY = 200
"""Photos in memory in each process; they are run again until each process has done its share."""

_barrier: Barrier


def _start(barrier: Barrier) -> None:
    global _barrier  # noqa: PLW0603 - a barrier can only be inherited
    _barrier = barrier


def _run(paths: list[Path], weights: str, images: int) -> tuple[float, float]:
    """When this process began, and ended, with its network."""
    runtime = Featurizer(weights).runtime
    pixels = [decode(path.read_bytes(), 224) for path in paths[:_READY]]
    runtime.features(pixels[0])
    _barrier.wait()
    start = time.monotonic()
    for number in range(images):
        runtime.features(pixels[number % len(pixels)])
    return start, time.monotonic()


def main() -> None:
    """Run it."""
    recipe = parse()
    paths = sorted(recipe.photos.glob("*/*.jpg"))
    shares = [paths[core :: recipe.cores] for core in range(recipe.cores)]
    context = get_context("spawn")
    barrier = context.Barrier(recipe.cores)
    with ProcessPoolExecutor(recipe.cores, context, initializer=_start, initargs=(barrier,)) as pool:
        spans = list(pool.map(_run, shares, [recipe.weights] * recipe.cores, map(len, shares)))
    seconds = float(np.max([end for _, end in spans]) - np.min([start for start, _ in spans]))
    answer(len(paths), network=seconds)


if __name__ == "__main__":
    main()
