"""The Spark engine on a standalone cluster of separate processes, with speculation on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark import cloudpickle

from engines.base import FeaturizeRequest, IndexRequest
from engines.core.errors import StageError
from engines.core.index.catalog import read_catalog
from engines.core.index.selection import Selection
from engines.core.networks.model import Model, publish_model
from engines.core.stages.featurize import featurize_shard
from engines.core.storage import open_storage
from engines.spark.engine import SparkEngine
from tests.parity.chain import Run, bytes_of
from tests.parity.conftest import SHARD_SIZE, Images
from tests.parity.processes import second_host, spark_cluster
from tests.parity.suite import EngineParity

SETTINGS = {
    "spark.task.maxFailures": "2",
    "spark.speculation": "true",
    "spark.speculation.interval": "50ms",
    "spark.speculation.multiplier": "1.5",
    "spark.speculation.quantile": "0.5",
    "spark.speculation.minTaskRuntime": "500ms",
}


def executor_of(daemon: int) -> int:
    """The process that started pyspark's daemon: the JVM of the executor."""
    fields = Path(f"/proc/{daemon}/stat").read_text().rpartition(")")[2].split()
    return int(fields[1])


cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import tests


class TestSparkCluster(EngineParity):
    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkEngine]:
        with (
            spark_cluster(tmp_path_factory.mktemp("spark")) as master,
            SparkEngine(scheduler=master, settings=SETTINGS) as engine,
        ):
            yield engine

    def test_speculative_copies_write_the_same_bytes(
        self,
        engine: SparkEngine,
        images: Images,
        model: Model,
        reference: Run,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        if second_host() == "127.0.0.1":
            pytest.skip("this machine has no 127.0.0.2, and Spark speculates on another host only")
        output, attempts = str(tmp_path / "output"), str(tmp_path / "attempts")

        indexed = engine.index(
            IndexRequest(str(images.source), output, Selection(per_class=images.per_class, shard_size=SHARD_SIZE))
        )
        slow = read_catalog(output, indexed.catalog).shards[0].id

        def slow_at_first(task, model):
            import time

            from pyspark import TaskContext

            report = featurize_shard(task, model)
            attempt = TaskContext.get().attemptNumber()
            open_storage(attempts).write(f"{task.shard.id}-{attempt}", b"")
            if attempt == 0 and task.shard.id == slow:
                time.sleep(60)
            return report

        monkeypatch.setattr("engines.map_engine.featurize_shard", slow_at_first)
        publish_model(model, output)
        report = engine.featurize(FeaturizeRequest(str(images.source), output, indexed.catalog, model.fingerprint))
        written = [item.key for item in open_storage(attempts).list() if item.key.startswith(slow)]
        assert written == [f"{slow}-0", f"{slow}-1"]
        assert report.featurized == indexed.listed
        assert bytes_of(tmp_path / "output" / "features") == bytes_of(reference.output / "features")

    def test_lost_executor_is_replaced(self, engine: SparkEngine) -> None:
        def ends_its_first_executor(item, _):
            import os
            import signal

            from pyspark import TaskContext

            if item == 1 and TaskContext.get().attemptNumber() == 0:
                os.kill(executor_of(os.getppid()), signal.SIGKILL)
            return item * item

        outcomes = engine.map(ends_its_first_executor, [0, 1, 2, 3], engine.broadcast(None))
        assert sorted(outcomes) == [(0, 0), (1, 1), (2, 4), (3, 9)]

    def test_executors_lost_again_and_again_are_given_up(self, engine: SparkEngine) -> None:
        def ends_its_executor(item, _):
            import os
            import signal

            os.kill(executor_of(os.getppid()), signal.SIGKILL)
            return item

        with pytest.raises(StageError, match="a group of shards: 2 workers died while they worked on it"):
            list(engine.map(ends_its_executor, [0], engine.broadcast(None)))
        assert dict(engine.map(lambda item, _: -item, [1, 2], engine.broadcast(None))) == {0: -1, 1: -2}
