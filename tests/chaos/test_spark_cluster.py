"""Spark on a standalone cluster of separate processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.runs import Chaos, Ended, published, variables
from tests.chaos.suite import STAGES, EngineChaos
from tests.parity.processes import spark_cluster


class TestSparkCluster(EngineChaos):
    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, orders: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ...]]:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in variables(orders).items():
                patch.setenv(name, value)  # executors get their environment from the cluster's workers
            with spark_cluster(tmp_path_factory.mktemp("spark")) as master:
                yield "--engine", "spark", "--master", master

    @pytest.mark.long
    @pytest.mark.parametrize("stage", STAGES)
    def test_an_executor_is_killed(self, chaos: Chaos, undisturbed: tuple[dict[str, str], Ended], stage: str) -> None:
        files, _ = undisturbed
        output = chaos.folder / f"executor-{stage}"
        ended = chaos.run(output, plan={"role": "worker", "pattern": STAGES[stage], "number": 0, "victim": "executor"})
        assert output.with_name(f"{output.name}.once").exists(), "nobody was killed"
        assert ended.code == 0, ended.errors
        assert published(output) == files
