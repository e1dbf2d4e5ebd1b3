"""The Dask engine: a local cluster of its own, and a scheduler by its address."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from engines.dask.engine import DaskEngine
from tests.parity.processes import dask_cluster
from tests.parity.suite import EngineParity


class TestDaskLocal(EngineParity):
    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls) -> Iterator[DaskEngine]:
        with DaskEngine(workers=2) as engine:
            yield engine


class TestDaskByAddress(EngineParity):
    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskEngine]:
        with dask_cluster(tmp_path_factory.mktemp("dask")) as address, DaskEngine(scheduler=address) as engine:
            yield engine
