"""Spark in this machine's own driver."""

from __future__ import annotations

import pytest

from tests.chaos.suite import EngineChaos


class TestSparkLocal(EngineChaos):
    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls) -> tuple[str, ...]:
        return "--engine", "spark", "--master", "local[2]"

    @pytest.fixture(scope="class")
    @classmethod
    def only_worker(cls) -> tuple[str, ...]:
        return "--engine", "spark", "--master", "local[1]"
