"""The primitives on PySpark: in a local driver, on a cluster by its master, or in the session that exists."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from py4j.protocol import Py4JError
from pyspark import Broadcast, SparkContext

from engines.core.errors import InputError, StageError, TransientError
from engines.machine import usable_cores
from engines.map_engine import MapEngine
from engines.patience import Patience
from engines.spark.checks import check_java, check_master, check_open_files, check_user, normalize_master
from engines.spark.job import JobError, SparkJob, explained
from engines.spark.launch import Driver, stop_context
from engines.spark.worker import Failure

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


class SparkEngine(MapEngine):
    """Spark: one task per shard and one thread per task, in Python workers that keep the network between tasks.

    `scheduler`: the master, `local[*]` (default; `local[workers]` with `workers`), `spark://HOST:PORT` or `yarn`. The
    workers of a cluster need fruit-features[worker] in the same versions. In a process that has a SparkContext, that
    one is used and not stopped; in one that spark-submit started, its context is used. Both try a task as often as
    their own spark.task.maxFailures says. `settings`: further Spark settings for a driver that the engine starts. Spark
    starts with the first stage that has work for it. Raises InputError for a missing or old Java, an unknown master,
    and one that does not answer.
    """

    name: ClassVar[str] = "spark"
    loggers: ClassVar[tuple[str, ...]] = ("py4j",)

    def __init__(
        self,
        workers: int | None = None,
        scheduler: str | None = None,
        settings: Mapping[str, str] | None = None,
        patience: Patience | None = None,
    ) -> None:
        super().__init__()
        if workers is not None and workers < 1:
            raise InputError(f"{workers} workers cannot do anything", "Give at least 1.")
        if workers is not None and scheduler is not None:
            raise InputError("a given master has its own workers", "Give --workers or --master, not both.")
        self._asked = workers is not None or scheduler is not None
        self._patience = patience or Patience()
        master = f"local[{workers or usable_cores()}]" if scheduler is None else scheduler
        self._master = normalize_master(master, self._patience.tries)
        self._settings = settings or {}
        self._driver: Driver | None = None
        self._context: SparkContext | None = None
        self._owned = False
        self.lost = False
        """Whether Spark has stopped by itself; the next stage would have to start it anew."""
        self._facts: dict[str, str | int] = {"scheduler": self._master}
        if _active_context() is None and not _submitted():
            # Checked now, and not after a million images were listed.
            check_user()
            check_open_files()
            check_java()
            check_master(self._master)

    @property
    def parallelism(self) -> int:
        """See MapEngine. The cores of the executors that are there now; more may be started later."""
        with self._explaining():
            return max(1, int(self._started().defaultParallelism))

    def map(
        self,
        function: Callable[[Item, Any], Outcome],
        items: Sequence[Item],
        value: Any,
        after_death: Callable[[Item], Item] | None = None,
    ) -> Iterator[tuple[int, Outcome]]:
        """See MapEngine. A task runs up to spark.task.maxFailures times if its worker dies or its error may heal."""
        arrived: set[int] = set()
        with self._explaining(items):
            context = self._started()
            job = SparkJob(
                context, function, items, value, _max_failures(context), self._patience.worker_seconds, after_death
            )
            try:
                for position, outcome in job.outcomes():
                    if isinstance(outcome, Failure):
                        raise outcome.error
                    # Spark promises to apply a task's accumulators once. Moments counted twice would go unnoticed, so
                    # this does not depend on it.
                    if position not in arrived:
                        arrived.add(position)
                        yield position, outcome
            finally:
                job.stop()
        if len(arrived) < len(items):
            raise StageError(f"Spark finished, but {len(items) - len(arrived)} of {len(items)} outcomes are missing")

    def broadcast(self, value: Any) -> Broadcast[Any]:
        """A Spark broadcast, which each Python worker reads once."""
        with self._explaining():
            return self._started().broadcast(value)

    def describe(self) -> dict[str, str | int]:
        """See Engine: the master, and once Spark has started its version and the settings that matter."""
        return dict(self._facts)

    def close(self) -> None:
        """See Engine. A context that existed before the engine is not stopped."""
        if self._driver is not None:
            self._driver.stop()
        elif self._context is not None and self._owned:
            stop_context(self._context)
        self._driver, self._context = None, None

    @contextlib.contextmanager
    def _explaining(self, items: Sequence[Any] = ()) -> Iterator[None]:
        """Talk to Spark within this context: what it raises is explained. Where Spark is gone, another attempt starts
        it anew. `items`: those of the job.
        """
        try:
            yield
        except JobError as failure:
            cause = failure.cause
        except (Py4JError, OSError, AttributeError) as raised:
            # pyspark raises whatever it meets first in a context or a JVM that is gone.
            cause = raised
        else:
            return
        alive = self._context is not None and _alive(self._context)
        if alive and isinstance(cause, AttributeError):
            raise cause
        error = explained(cause, items, alive=alive)
        if not alive and isinstance(error, TransientError):
            self.close()
            self.lost = True
        raise error from cause

    def _started(self) -> SparkContext:
        if self._context is None:
            self._context = self._existing() or self._given() or self._launched()
            self.lost = False
            conf = self._context.getConf()
            self._facts = {
                "scheduler": self._context.master,
                "spark": self._context.version,
                "task_max_failures": _max_failures(self._context),
                "speculation": conf.get("spark.speculation", "false"),
                "driver_memory": conf.get("spark.driver.memory", "1g"),
                "executor_memory": conf.get("spark.executor.memory", "1g"),
                "max_result_size": conf.get("spark.driver.maxResultSize", "1g"),
            }
        return self._context

    def _existing(self) -> SparkContext | None:
        context = _active_context()
        if context is not None and self._asked and context.master != self._master:
            raise InputError(
                f"this process has a Spark session on {context.master} already",
                "Leave out --master and --workers to use it, or stop it first.",
            )
        self._owned = False
        return context

    def _given(self) -> SparkContext | None:
        """The context of a process that spark-submit started, with the master and settings given there."""
        if not _submitted():
            return None
        if self._asked:
            raise InputError("spark-submit has chosen the master already", "Leave out --master and --workers.")
        self._owned = True
        return SparkContext.getOrCreate()

    def _launched(self) -> SparkContext:
        verbose = logging.getLogger("engines").isEnabledFor(logging.INFO)
        self._driver = Driver(self._master, self._settings, sys.executable, tries=self._patience.tries, verbose=verbose)
        return self._driver.context


def _submitted() -> bool:
    """Whether spark-submit started this process."""
    return "PYSPARK_GATEWAY_PORT" in os.environ


def _active_context() -> SparkContext | None:
    """The SparkContext of this process, if it has one."""
    # pyspark has no public way to ask without starting one: SparkContext.getOrCreate starts a JVM, and
    # SparkSession.getActiveSession knows no context without a session.
    context: SparkContext | None = SparkContext._active_spark_context
    return context


def _max_failures(context: SparkContext) -> int:
    """How often Spark tries a task before it fails the job."""
    if context.master.startswith("local"):
        several = re.fullmatch(r"local\[[^,]+,\s*(\d+)\s*\]", context.master)
        return int(several.group(1)) if several else 1
    return int(context.getConf().get("spark.task.maxFailures", "4"))


def _alive(context: SparkContext) -> bool:
    """Whether the context can run another job: neither it nor its JVM was stopped."""
    try:
        return int(context.defaultParallelism) > 0  # raises on a stopped context
    except (Py4JError, OSError, AttributeError):
        return False
