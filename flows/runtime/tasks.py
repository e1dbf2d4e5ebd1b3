"""Stages as tasks of Prefect: what is tried again, names a person can read, and progress on the page."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.flows import Flow
from prefect.tasks import Task
from prefect.utilities.callables import parameter_schema

from engines.base import Progress
from engines.core.errors import TransientError
from flows.chain import RETRY_SECONDS
from flows.runtime.server import check_server
from flows.views.page import progress_shown
from flows.views.progress import tell

T = TypeVar("T")

_WITH_PROGRESS = ("featurize", "fit_pca", "project", "recheck", "neighbours")


class TaskCall:
    """See flows.chain.Call: each stage is a task run of the flow run that surrounds it.

    Give `listener` to the engine: while a task runs, progress goes to the terminal, and to the task's artifact if its
    stage has one.
    """

    def __init__(self) -> None:
        self._listener: Callable[[Progress], None] | None = None

    def listener(self, progress: Progress) -> None:
        """Takes what an engine reports."""
        if self._listener is not None:
            self._listener(progress)

    def __call__(self, name: str, label: str, function: Callable[..., T], *arguments: Any) -> T:
        """See flows.chain.Call."""

        def stage() -> T:
            with progress_shown(name) if name in _WITH_PROGRESS else contextlib.nullcontext(tell) as listener:
                self._listener = listener
                try:
                    return function(*arguments)
                finally:
                    self._listener = None

        return stage_task(name, label, stage)()


def stage_task(name: str, label: str, function: Callable[[], T]) -> Task[[], T]:
    """A task that is tried again, later each time, when it fails of something that may heal."""
    # Engines and reports stay in this process: nothing of a stage is worth caching or storing by Prefect.
    declare = task(
        name=name,
        task_run_name=lambda: label,  # a function, because Prefect would fill in braces in a text
        retries=len(RETRY_SECONDS),
        retry_delay_seconds=list(RETRY_SECONDS),
        retry_condition_fn=_may_heal,
        cache_policy=NO_CACHE,
        persist_result=False,
    )
    declared: Task[[], T] = declare(function)
    return declared


def _may_heal(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Whether another attempt can help. What was done is kept, so a retry does only what is missing."""
    return isinstance(state.data, TransientError)


class ServedFlow(Flow[..., Any]):
    """A flow for the server that is configured. Prefect would start one in this process where there is none.

    Its form asks for the parameters that are empty by default. The function itself takes them as they are: what
    Prefect cannot bind crashes a run without a word, what the function refuses fails it with the reason.
    """

    def __init__(self, function: Callable[..., Any], **options: Any) -> None:
        super().__init__(function, **options)
        signature = inspect.signature(function)
        self.__signature__ = signature.replace(
            parameters=[
                each.replace(default=inspect.Parameter.empty) if each.default in ("", []) else each
                for each in signature.parameters.values()
            ]
        )
        self.parameters = parameter_schema(self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run it here, as a flow run on the server. Raises InputError when none is configured or it is away."""
        check_server()
        return super().__call__(*args, **kwargs)
