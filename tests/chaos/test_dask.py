"""A local Dask cluster."""

from __future__ import annotations

import pytest

from tests.chaos.suite import EngineChaos


class TestDask(EngineChaos):
    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls) -> tuple[str, ...]:
        return "--engine", "dask", "--workers", "2"

    @pytest.fixture(scope="class")
    @classmethod
    def only_worker(cls) -> tuple[str, ...]:
        return "--engine", "dask", "--workers", "1"
