"""What runs on the Spark workers: one task of a job, and how its outcome gets to the driver."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from pyspark import Accumulator, AccumulatorParam, Broadcast, TaskContext

from engines.core.errors import FruitsError, TransientError
from engines.task_errors import task_failed


@dataclass(frozen=True)
class Failure:
    """Takes the place of an outcome when a task has failed and Spark need not try it again."""

    error: FruitsError


class Arrivals(AccumulatorParam):  # type: ignore[misc]  # pyspark is not analyzed
    """Collects outcomes as (position, outcome): on a worker those of a task; on the driver each goes to `deliver`."""

    def __init__(self, deliver: Callable[[tuple[int, Any]], None] | None) -> None:
        self._deliver = deliver

    def __reduce__(self) -> tuple[type[Arrivals], tuple[None]]:
        return Arrivals, (None,)  # on a worker there is nothing to deliver to

    def zero(self, value: list[tuple[int, Any]]) -> list[tuple[int, Any]]:  # noqa: ARG002 - Spark's interface
        """See AccumulatorParam."""
        return []

    def addInPlace(self, value1: list[tuple[int, Any]], value2: list[tuple[int, Any]]) -> list[tuple[int, Any]]:
        """See AccumulatorParam."""
        if self._deliver is None:
            return value1 + value2
        for outcome in value2:
            self._deliver(outcome)
        return value1

    def close(self) -> None:
        """Drop what arrives from now on, and release what `deliver` holds."""
        self._deliver = _drop


def _drop(_: tuple[int, Any]) -> None:
    pass


def run_task(
    function: Callable[[Any, Any], Any],
    value: Broadcast[Any],
    outcomes: Accumulator[list[tuple[int, Any]]],
    max_failures: int,
    after_death: Callable[[Any], Any] | None,
    items: Iterable[tuple[int, Any]],
) -> None:
    """Run `function(item, value)` for the items of a partition, and add each outcome to `outcomes`.

    Each attempt but the first takes `after_death(item)`. Raises only an error that may heal, so that Spark tries the
    task again. Any other error becomes a Failure.
    """
    for position, item in items:
        try:
            if after_death is not None and _attempt() > 0:
                item = after_death(item)  # noqa: PLW2901 - the same item, with precautions
            outcome = function(item, value.value)
        except TransientError as error:
            if _attempt() + 1 < max_failures:
                raise
            outcome = Failure(error)
        except FruitsError as error:
            outcome = Failure(error)
        except Exception as error:
            # A task may raise anything. It is explained here, because not every exception can be pickled.
            failure = task_failed(item, type(error).__name__, error)
            failure.add_note(traceback.format_exc())
            outcome = Failure(failure)
        outcomes.add([(position, outcome)])


def _attempt() -> int:
    """Which attempt at this task this is, from 0. Spark counts those that failed, and copies on slow workers."""
    context = TaskContext.get()
    return 0 if context is None else int(context.attemptNumber())
