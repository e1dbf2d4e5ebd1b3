"""Progress of a run, from the engine to whoever watches: the terminal, and an artifact on Prefect's page."""

from __future__ import annotations

import contextlib
import contextvars
import time
from collections.abc import Callable, Iterator

from engines.base import Progress

Listener = Callable[[Progress], None]

_listener: contextvars.ContextVar[Listener | None] = contextvars.ContextVar("progress_listener", default=None)

_SECONDS_BETWEEN_UPDATES = 2.0


@contextlib.contextmanager
def watching(listener: Listener) -> Iterator[None]:
    """Within this context, flows report their progress to `listener` too."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def tell(progress: Progress) -> None:
    """Hand progress to the listener of the surrounding `watching`, if there is one."""
    listener = _listener.get()
    if listener is not None:
        listener(progress)


def throttled(update: Listener) -> Listener:
    """A listener that calls `update` at most every two seconds, and always at the end of a stage."""
    last = 0.0

    def listener(progress: Progress) -> None:
        nonlocal last
        now = time.monotonic()
        finished = progress.done >= progress.total
        if finished or now - last >= _SECONDS_BETWEEN_UPDATES:
            last = now
            update(progress)

    return listener
