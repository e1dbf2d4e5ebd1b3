"""The Spark engine in this machine's own driver."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from engines.spark.engine import SparkEngine
from tests.parity.suite import EngineParity


class TestSparkLocal(EngineParity):
    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls) -> Iterator[SparkEngine]:
        with SparkEngine(scheduler="local[2]") as engine:
            yield engine
