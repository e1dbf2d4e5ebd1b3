"""A run that Prefect's page cancels stops, also when no worker is there to end it.

Usually the worker of a run ends the run's process. That of a run in a terminal, or of one whose worker was killed, has
nobody who would, so it asks for its own state.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from uuid import UUID

import httpx
from prefect import get_client
from prefect.exceptions import CancelledRun, TerminationSignal
from prefect.runtime import flow_run

_POLL_SECONDS = 3.0
_WORKER_SECONDS = 10.0
"""How long a worker has to end the run itself: it also runs hooks, and a second signal would disturb the clean-up."""


@contextlib.contextmanager
def stopped_when_cancelled() -> Iterator[None]:
    """Within this context the run is stopped when its state is Cancelling or Cancelled; then raises CancelledRun.

    The code within sees Prefect's TerminationSignal, as when a worker ends the run. What is to be cleaned up
    undisturbed belongs around this context. (Signals reach the main thread only: a run in another one is not watched.)
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    watch = _Watch(UUID(str(flow_run.id)))
    watch.start()
    try:
        yield
    except TerminationSignal as ended:
        if watch.cancelled:
            raise CancelledRun("Cancelled; what was done is kept, and the next run does the rest") from ended
        raise
    finally:
        watch.stop()
    if watch.asks():
        # Nothing but Cancelled may follow Cancelling, so this run would stay in it.
        raise CancelledRun("Cancelled, but all was done by then")


class _Watch(threading.Thread):
    """Asks for the state of a run now and then, and ends this process as a worker would when it is cancelled."""

    def __init__(self, run: UUID) -> None:
        super().__init__(name="cancellation", daemon=True)
        self.cancelled = False
        self._run_id = run
        self._stopped = threading.Event()
        self._lock = threading.Lock()

    def stop(self) -> None:
        """From here on this process is not ended."""
        with self._lock:
            self._stopped.set()

    def asks(self) -> bool:
        """Whether the run is to be cancelled, or is; False while the server is away."""
        try:
            with get_client(sync_client=True) as client:
                state = client.read_flow_run(self._run_id).state
        except httpx.HTTPError:
            return False
        return state is not None and (state.is_cancelling() or state.is_cancelled())

    def run(self) -> None:
        """See threading.Thread."""
        since: float | None = None
        while not self._stopped.wait(_POLL_SECONDS):
            if not self.asks():
                since = None
            elif since is None:
                since = time.monotonic()
            elif time.monotonic() - since >= _WORKER_SECONDS:
                self._end()
                return

    def _end(self) -> None:
        with self._lock:
            if not self._stopped.is_set():
                self.cancelled = True
                os.kill(os.getpid(), signal.SIGTERM)
