"""What the tasks of the flows have in common: what is tried again, and names a person can read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task

from engines.core.errors import TransientError

P = ParamSpec("P")
Outcome = TypeVar("Outcome")


def stage(name: str) -> Callable[[Callable[P, Outcome]], Task[P, Outcome]]:
    """A task that is tried again, later each time, when it fails of something that may heal."""
    # Engines and reports stay in this process: nothing of a stage is worth caching or storing by Prefect.
    return task(
        name=name,
        retries=2,
        retry_delay_seconds=[5, 30],
        retry_condition_fn=_may_heal,
        cache_policy=NO_CACHE,
        persist_result=False,
    )


def called(one: Task[P, Outcome], name: str) -> Task[P, Outcome]:
    """The task, with `name` as the name of its run; a function, because Prefect would fill in braces in a text."""
    return one.with_options(task_run_name=lambda: name)


def _may_heal(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Whether another attempt can help. What was done is kept, so a retry does only what is missing."""
    return isinstance(state.data, TransientError)
