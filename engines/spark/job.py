"""The driver's half of one Spark job: it starts the job, takes the outcomes as they arrive, and explains a failure."""

from __future__ import annotations

import functools
import queue
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from py4j.protocol import Py4JError, Py4JJavaError
from pyspark import SparkContext

from engines.core.errors import FruitsError, StageError
from engines.map_engine import LOGGER
from engines.spark.worker import Arrivals, run_task
from engines.task_errors import connection_lost, task_failed, workers_died

_POLL_SECONDS = 1.0
_STOP_SECONDS = 30.0
_WAIT_SECONDS = 0.1

EXECUTOR_SECONDS = {"spark": 60.0, "other": 600.0}
"""How long a stage waits by default while no task runs. A standalone cluster has its workers; others start them."""

SILENT_SECONDS = 15.0
"""How long it waits without a word: executors take some seconds to start."""

_DEAD_WORKER = re.compile(r"ExecutorLostFailure|Python worker exited unexpectedly|Python worker failed to connect back")
_ENDING = re.compile(
    # An executor: `... (executor 1 exited caused by one of the running tasks) Reason: Container killed by YARN ...`
    r"ExecutorLostFailure.*? Reason: ([^\n]+)"
    # A Python worker, by faulthandler: `Fatal Python error: Segmentation fault`.
    r"|Fatal Python error: ([^\n]+)"
)
_DEAD_CLUSTER = re.compile(
    r"SparkContext (?:was|has been) shut ?down|stopped SparkContext|Master removed our application|"
    r"masters are unresponsive|cancelled because Spark"
)


@dataclass(frozen=True)
class _Ended:
    """The job is over; `error` is what Spark raised if it failed."""

    error: Exception | None


class JobError(Exception):
    """The job failed as a whole. `cause` is what Spark or Python raised."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(cause)
        self.cause = cause


class SparkJob:
    """One Spark job with a task per item.

    Outcomes arrive by an accumulator. Spark sends its updates to the driver after each task, but the results of a job
    only at its end. So progress is live, a failure is known at once, and outcomes do not pile up.
    """

    def __init__(
        self,
        context: SparkContext,
        function: Callable[[Any, Any], Any],
        items: Sequence[Any],
        value: Any,
        max_failures: int,
        worker_seconds: float | None,
        after_death: Callable[[Any], Any] | None,
    ) -> None:
        self._context = context
        kind = "spark" if context.master.startswith("spark://") else "other"
        self._worker_seconds = worker_seconds or EXECUTOR_SECONDS[kind]
        self._group = f"fruit-features-{uuid.uuid4().hex}"
        self._messages: queue.SimpleQueue[tuple[int, Any] | _Ended] = queue.SimpleQueue()
        self._arrivals = Arrivals(self._messages.put)
        outcomes = context.accumulator([], self._arrivals)
        task = functools.partial(run_task, function, value, outcomes, max_failures, after_death)
        self._rdd = context.parallelize(list(enumerate(items)), len(items))
        self._description = f"{getattr(function, '__name__', 'task')} over {len(items):,} items"
        self._succeeded = False
        self._thread = threading.Thread(target=self._run, args=(task,), name="spark-job", daemon=True)
        self._thread.start()

    def outcomes(self) -> Iterator[tuple[int, Any]]:
        """(position, outcome or Failure) as tasks finish. Raises JobError, and StageError if no task is started."""
        since, said = time.monotonic(), False
        while True:
            try:
                message = self._messages.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                _, tasks = self._tracked()
                waited = time.monotonic() - since
                if tasks:
                    since, said = time.monotonic(), False
                elif waited > self._worker_seconds:
                    raise StageError(
                        f"no worker of {self._context.master} took a task for {self._worker_seconds:g} s",
                        "Check that its workers run, and have a free core and the executor's memory.",
                    ) from None
                elif waited > SILENT_SECONDS and not said:
                    said = True
                    LOGGER.warning(
                        "no worker of %s has a task: waiting up to %g s for one",
                        self._context.master,
                        self._worker_seconds,
                    )
                continue
            if isinstance(message, _Ended):
                if message.error is not None:
                    raise JobError(message.error)
                return
            since, said = time.monotonic(), False
            yield message

    def stop(self) -> None:
        """Cancel what still runs and wait until it has ended. Outcomes that arrive from now on are dropped."""
        self._arrivals.close()
        deadline = time.monotonic() + _STOP_SECONDS
        # Repeated, because cancelling does nothing to a job that has not reached Spark yet.
        while self._thread.is_alive() and time.monotonic() < deadline:
            try:
                self._context.cancelJobGroup(self._group)
            except (Py4JError, OSError, AttributeError):
                return  # the JVM is gone, or the context is stopped: nothing is left to cancel
            self._thread.join(_POLL_SECONDS)
        # A cancelled job ends at once, but its tasks only when they notice, and until then they may still write.
        # The tracker's count of running tasks may be out of date until the tracker knows that the job has ended.
        while not self._succeeded and time.monotonic() < deadline and any(self._tracked()):
            time.sleep(_WAIT_SECONDS)

    def _run(self, task: Callable[[Iterable[Any]], None]) -> None:
        try:
            self._context.setJobGroup(self._group, self._description, interruptOnCancel=True)
            self._rdd.foreachPartition(task)
        except Exception as error:
            # Whatever it is, the thread that waits for the job raises it.
            self._messages.put(_Ended(error))
        else:
            self._succeeded = True
            self._messages.put(_Ended(None))

    def _tracked(self) -> tuple[bool, int]:
        """Whether the job runs, and how many of its tasks do, as far as Spark's status tracker knows."""
        try:
            tracker = self._context.statusTracker()
            jobs = [job for number in tracker.getJobIdsForGroup(self._group) if (job := tracker.getJobInfo(number))]
            stages = [tracker.getStageInfo(number) for job in jobs for number in job.stageIds]
        except (Py4JError, OSError, AttributeError):
            return False, 0  # the JVM is gone, or the context is stopped: the job's thread will report it
        return any(job.status == "RUNNING" for job in jobs), sum(stage.numActiveTasks for stage in stages if stage)


def explained(error: Exception, items: Sequence[Any], *, alive: bool) -> FruitsError:
    """The FruitsError for a failed job: the cause and the shard, found in what Spark and Java wrote.

    `alive`: whether the context could run another job.
    """
    if not isinstance(error, Py4JJavaError):
        lost = isinstance(error, Py4JError | OSError | AttributeError) and not alive
        return connection_lost("Spark's JVM is gone") if lost else StageError(f"{type(error).__name__}: {error}")
    text = str(error.java_exception.toString())
    failed = re.search(r"Task (\d+) in stage [\d.]+ failed (\d+) times", text)
    item = items[int(failed.group(1))] if failed else None
    if _DEAD_WORKER.search(text):
        return workers_died(item, int(failed.group(2)) if failed else 1, _ending(text))
    if _DEAD_CLUSTER.search(text):
        return connection_lost("the Spark application was stopped", item)
    raised = re.findall(r"^(?:[a-z_]\w*\.)*([A-Z]\w*): (.*)$", text.partition("\n\tat ")[0], re.MULTILINE)
    if "Traceback (most recent call last)" in text and raised:
        return task_failed(item, *raised[-1])
    return task_failed(item, "Spark", text.splitlines()[0])


def _ending(text: str) -> str:
    """How a worker ended, as Spark says it; "" where it says no more than that."""
    found = _ENDING.search(text)
    return " ".join(next(filter(None, found.groups()), "").split()) if found else ""
