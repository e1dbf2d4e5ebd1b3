"""What one photo may take: time, and memory to decode it."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from engines.core.networks.image_memory import MAX_MEMORY


@dataclass(frozen=True, slots=True)
class PhotoLimits:
    """`seconds` that decoding a photo and running the network on it may take; `memory`: bytes to decode it with."""

    seconds: float = 60.0
    memory: int = MAX_MEMORY


_lock = threading.Lock()
_deadlines: dict[int, float] = {}
"""When each thread's photo has to be done."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """End this process by SIGALRM when the code within takes longer.

    A decoder that never returns sits in C code, where no exception reaches it: only its process can be ended. The
    kernel does that by itself, and setting its timer takes a microsecond. For processes that someone starts again.
    A timer that was running is set again behind it.
    """
    thread = threading.get_ident()
    with _lock:
        former = signal.getitimer(signal.ITIMER_REAL) if not _deadlines else (0.0, 0.0)
        _deadlines[thread] = time.monotonic() + seconds
        _set_timer()
    try:
        yield
    finally:
        with _lock:
            del _deadlines[thread]
            if _deadlines:
                _set_timer()
            else:
                signal.setitimer(signal.ITIMER_REAL, *former)


def _set_timer() -> None:
    """A process has one such timer: it is that of the thread whose time ends first."""
    signal.setitimer(signal.ITIMER_REAL, max(1e-3, min(_deadlines.values()) - time.monotonic()))
