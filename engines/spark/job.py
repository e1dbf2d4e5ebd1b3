"""One Spark job of the engine: its tasks, what they send back while it runs, and what its failure means."""

from __future__ import annotations

import functools
import queue
import re
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from py4j.protocol import Py4JError, Py4JJavaError
from pyspark import Accumulator, AccumulatorParam, Broadcast, SparkContext, TaskContext

from engines.core.errors import FruitsError, StageError, TransientError
from engines.task_errors import connection_lost, task_failed, workers_died

_POLL_SECONDS = 1.0
_STOP_SECONDS = 30.0
_WAIT_SECONDS = 0.1

EXECUTOR_SECONDS = {"spark": 60.0, "other": 600.0}
"""How long a stage waits with no task running: the workers of a standalone cluster are there, others are started."""

_DEAD_WORKER = re.compile(r"ExecutorLostFailure|Python worker exited unexpectedly|Python worker failed to connect back")
_DEAD_CLUSTER = re.compile(
    r"SparkContext (?:was|has been) shut ?down|stopped SparkContext|Master removed our application|"
    r"masters are unresponsive|cancelled because Spark"
)


@dataclass(frozen=True)
class Failure:
    """In the place of an outcome: the task failed for good, and Spark need not try again."""

    error: FruitsError


@dataclass(frozen=True)
class _Ended:
    """The job is over; with the error Spark gives when it failed."""

    error: Exception | None


class JobError(Exception):
    """The job failed as a whole; `cause` is what Spark or Python gave for it."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(cause)
        self.cause = cause


class Job:
    """One Spark job with a task per item.

    Outcomes come by an accumulator: Spark hands its updates to the driver task by task, while the results of a job come
    together at its end. So progress is live, a failure is known at once, and outcomes do not pile up.
    """

    def __init__(
        self,
        context: SparkContext,
        function: Callable[[Any, Any], Any],
        items: Sequence[Any],
        value: Any,
        max_failures: int,
    ) -> None:
        self._context = context
        self._group = f"fruit-features-{uuid.uuid4().hex}"
        self._messages: queue.SimpleQueue[tuple[int, Any] | _Ended] = queue.SimpleQueue()
        self._arrivals = _Arrivals(self._messages.put)
        outcomes = context.accumulator([], self._arrivals)
        task = functools.partial(_run_task, function, value, outcomes, max_failures)
        self._rdd = context.parallelize(list(enumerate(items)), len(items))
        self._description = f"{getattr(function, '__name__', 'task')} over {len(items):,} items"
        self._succeeded = False
        self._thread = threading.Thread(target=self._run, args=(task,), name="spark-job", daemon=True)
        self._thread.start()

    def outcomes(self) -> Iterator[tuple[int, Any]]:
        """(position, outcome or Failure) as tasks finish. Raises JobError, or TransientError when nothing runs."""
        kind = "spark" if self._context.master.startswith("spark://") else "other"
        deadline = time.monotonic() + EXECUTOR_SECONDS[kind]
        while True:
            try:
                message = self._messages.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                _, tasks = self._tracked()
                if tasks:
                    deadline = time.monotonic() + EXECUTOR_SECONDS[kind]
                elif time.monotonic() > deadline:
                    raise TransientError(
                        f"no worker of {self._context.master} took a task for {EXECUTOR_SECONDS[kind]:.0f} s",
                        "Check that its workers run, and have a free core and the executor's memory.",
                    ) from None
                continue
            if isinstance(message, _Ended):
                if message.error is not None:
                    raise JobError(message.error)
                return
            deadline = time.monotonic() + EXECUTOR_SECONDS[kind]
            yield message

    def stop(self) -> None:
        """Cancel what still runs, and wait for its end. What arrives from now on is dropped."""
        self._arrivals.close()
        deadline = time.monotonic() + _STOP_SECONDS
        # Again and again, as a job that has not reached Spark yet is not cancelled.
        while self._thread.is_alive() and time.monotonic() < deadline:
            try:
                self._context.cancelJobGroup(self._group)
            except (Py4JError, OSError, AttributeError):
                return  # the JVM is gone, or the context is stopped: nothing is left to cancel
            self._thread.join(_POLL_SECONDS)
        # A cancelled job is over at once, its tasks when they notice: until then they may still write. The tracker's
        # count of them may be old until it knows of the job's end.
        while not self._succeeded and time.monotonic() < deadline and any(self._tracked()):
            time.sleep(_WAIT_SECONDS)

    def _run(self, task: Callable[[Iterable[Any]], None]) -> None:
        try:
            self._context.setJobGroup(self._group, self._description, interruptOnCancel=True)
            self._rdd.foreachPartition(task)
        except Exception as error:
            # Handed to the thread that waits, whatever it is.
            self._messages.put(_Ended(error))
        else:
            self._succeeded = True
            self._messages.put(_Ended(None))

    def _tracked(self) -> tuple[bool, int]:
        """Whether the job runs and how many of its tasks do, as far as Spark's status tracker has heard."""
        try:
            tracker = self._context.statusTracker()
            jobs = [job for number in tracker.getJobIdsForGroup(self._group) if (job := tracker.getJobInfo(number))]
            stages = [tracker.getStageInfo(number) for job in jobs for number in job.stageIds]
        except (Py4JError, OSError, AttributeError):
            return False, 0  # the JVM is gone, or the context is stopped: the job's thread says so next
        return any(job.status == "RUNNING" for job in jobs), sum(stage.numActiveTasks for stage in stages if stage)


class _Arrivals(AccumulatorParam):  # type: ignore[misc]  # pyspark is not analyzed
    """On a worker: collects a task's outcomes. On the driver: hands each one to `deliver` as it comes."""

    def __init__(self, deliver: Callable[[tuple[int, Any]], None] | None) -> None:
        self._deliver = deliver

    def __reduce__(self) -> tuple[type[_Arrivals], tuple[None]]:
        return _Arrivals, (None,)

    def zero(self, value: list[tuple[int, Any]]) -> list[tuple[int, Any]]:  # noqa: ARG002 - Spark's interface
        return []

    def addInPlace(self, value1: list[tuple[int, Any]], value2: list[tuple[int, Any]]) -> list[tuple[int, Any]]:
        if self._deliver is None:
            return value1 + value2
        for outcome in value2:
            self._deliver(outcome)
        return value1

    def close(self) -> None:
        """Drop what comes from now on, and let go of what came."""
        self._deliver = _drop


def _drop(_: tuple[int, Any]) -> None:
    pass


def _run_task(
    function: Callable[[Any, Any], Any],
    value: Broadcast[Any],
    outcomes: Accumulator[list[tuple[int, Any]]],
    max_failures: int,
    items: Iterable[tuple[int, Any]],
) -> None:
    """Runs on the workers. Only what may heal is raised, for Spark to try again; the rest is an outcome."""
    for position, item in items:
        try:
            outcome = function(item, value.value)
        except TransientError as error:
            context = TaskContext.get()
            if context is not None and context.attemptNumber() + 1 < max_failures:
                raise
            outcome = Failure(error)
        except FruitsError as error:
            outcome = Failure(error)
        except Exception as error:
            # Whatever a task may raise: explained here, as not every exception survives the way to the driver.
            failure = task_failed(item, type(error).__name__, error)
            failure.add_note(traceback.format_exc())
            outcome = Failure(failure)
        outcomes.add([(position, outcome)])


def explained(error: Exception, items: Sequence[Any]) -> FruitsError:
    """What a person needs of a failed job, out of what Spark and Java say."""
    if not isinstance(error, Py4JJavaError):
        lost = isinstance(error, Py4JError | OSError | AttributeError)
        return connection_lost("Spark's JVM is gone") if lost else StageError(f"{type(error).__name__}: {error}")
    text = str(error.java_exception.toString())
    failed = re.search(r"Task (\d+) in stage [\d.]+ failed (\d+) times", text)
    item = items[int(failed.group(1))] if failed else None
    if _DEAD_WORKER.search(text):
        return workers_died(item, int(failed.group(2)) if failed else 1)
    if _DEAD_CLUSTER.search(text):
        return connection_lost("the Spark application was stopped", item)
    raised = re.findall(r"^(?:[a-z_]\w*\.)*([A-Z]\w*): (.*)$", text.partition("\n\tat ")[0], re.MULTILINE)
    if "Traceback (most recent call last)" in text and raised:
        return task_failed(item, *raised[-1])
    return task_failed(item, "Spark", text.splitlines()[0])
