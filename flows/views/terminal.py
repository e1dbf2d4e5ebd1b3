"""What a person sees in the terminal while a run goes on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.text import Text

from engines.base import Progress
from flows.views.console import console
from flows.views.progress import Listener


class _RateColumn(TextColumn):
    """Images a second."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f}/s" if speed and speed >= 1 else "", style="progress.data.speed")


class _CountColumn(MofNCompleteColumn):
    """Done of all; nothing where there is nothing to count."""

    def render(self, task: Task) -> Text:
        return Text() if task.total is None else super().render(task)


@contextlib.contextmanager
def progress_bar(waiting: str = "") -> Iterator[Listener]:
    """A listener that shows a bar per stage on standard error: count, images per second, time left.

    `waiting` names what goes on before the first stage reports, if that takes a while.
    """
    bars = Bars(
        TextColumn("{task.description:<10}"),
        BarColumn(),
        _CountColumn(),
        _RateColumn(),
        TimeRemainingColumn(),
        TimeElapsedColumn(),
        console=console(stderr=True),
    )
    tasks: dict[str, TaskID] = {}
    with bars:
        if waiting:
            tasks[waiting] = bars.add_task(waiting, total=None)

        def listener(progress: Progress) -> None:
            if waiting in tasks:
                bars.remove_task(tasks.pop(waiting))
            if progress.stage not in tasks:
                tasks[progress.stage] = bars.add_task(progress.stage, total=progress.total)
            bars.update(tasks[progress.stage], completed=progress.done, total=progress.total)

        yield listener
        if waiting in tasks:
            bars.remove_task(tasks.pop(waiting))
