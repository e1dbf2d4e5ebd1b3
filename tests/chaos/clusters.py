"""Clusters of separate processes that come to harm, and the options of runs on them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.runs import variables
from tests.parity.processes import dask_cluster, spark_cluster


@contextlib.contextmanager
def spark_options(orders: Path, folder: Path, workers: int) -> Iterator[tuple[str, ...]]:
    """A standalone cluster of Spark. Executors get their environment from its workers."""
    with _harmed(orders), spark_cluster(folder, workers) as master:
        yield "--engine", "spark", "--master", master


@contextlib.contextmanager
def dask_options(orders: Path, folder: Path, workers: int) -> Iterator[tuple[str, ...]]:
    """A scheduler of Dask, and workers with their nannies."""
    with _harmed(orders), dask_cluster(folder, workers) as scheduler:
        yield "--engine", "dask", "--scheduler", scheduler


@contextlib.contextmanager
def _harmed(orders: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables(orders).items():
            patch.setenv(name, value)
        yield
