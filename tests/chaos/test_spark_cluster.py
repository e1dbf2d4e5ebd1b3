"""Spark on a standalone cluster of separate processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.clusters import spark_options
from tests.chaos.runs import Chaos, Ended
from tests.chaos.suite import STAGES, EngineChaos, survives


class TestSparkCluster(EngineChaos):
    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, orders: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ...]]:
        with spark_options(orders, tmp_path_factory.mktemp("spark"), workers=2) as options:
            yield options

    @pytest.fixture(scope="class")
    @classmethod
    def only_worker(cls, orders: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ...]]:
        with spark_options(orders, tmp_path_factory.mktemp("spark"), workers=1) as options:
            yield options

    @pytest.mark.long
    @pytest.mark.parametrize("stage", STAGES)
    def test_an_executor_is_killed(self, chaos: Chaos, undisturbed: tuple[dict[str, str], Ended], stage: str) -> None:
        plan = {"role": "worker", "pattern": STAGES[stage], "number": 0, "victim": "executor"}
        survives(chaos, f"executor-{stage}", plan, undisturbed)
