"""The connection to a Dask scheduler, a given one or that of a local cluster, and what is handed to it.

All that needs `distributed` on the driver is here: it is imported when there is work, and takes half a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from distributed import Client, Future, rpc
from distributed.client import FutureCancelledError
from distributed.protocol import pickle
from distributed.scheduler import KilledWorker

from engines.core.errors import FruitsError, InputError, StageError
from engines.dask.launch import LocalClusterProcess
from engines.dask.worker import run_packed, unpack
from engines.map_engine import LOGGER
from engines.patience import Patience
from engines.task_errors import connection_lost, death, task_failed, workers_died

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

_LOGGER = logging.getLogger("distributed")

_CONNECT_SECONDS = 10
_POLL_SECONDS = 2.0
_GOOD = ("pending", "finished")

WORKER_SECONDS = 120.0
"""How long a stage waits for a worker by default: one that was killed may take that long to start again."""


# What is packed goes through the scheduler as bytes. It would unpack it otherwise, with all imports that this takes.


class Broadcast:
    """A value for the workers: a task that returns it, which unlike scattered data is made again when they are lost."""

    def __init__(self, value: Any) -> None:
        self._value = value
        self._future: Future | None = None

    def on(self, client: Client) -> Future:
        """The task; another one when it ended with its worker, or with its scheduler."""
        if self._future is None or self._future.client is not client or self._future.status not in _GOOD:
            self._future = client.submit(unpack, pickle.dumps(self._value), pure=False)
        return self._future


class Connection:
    """A client of the scheduler at `address`, or of a local `cluster`."""

    def __init__(self, address: str | None, cluster: LocalClusterProcess | None, patience: Patience) -> None:
        self._given = address
        self._tries = patience.tries
        self._worker_seconds = patience.worker_seconds or WORKER_SECONDS
        self._cluster = cluster
        if cluster is None:
            self.client = Client(address, timeout=_CONNECT_SECONDS)
        else:
            self.client = Client(cluster.address, security=cluster.security, timeout=_CONNECT_SECONDS)

    @property
    def alive(self) -> bool:
        """Whether work can be handed to it."""
        return self.client.status == "running" and (self._cluster is None or self._cluster.alive)

    @property
    def threads(self) -> int:
        """Of all workers that are there now."""
        return sum(self.client.nthreads().values())

    def map(
        self,
        function: Callable[[Item, Any], Outcome],
        items: Sequence[Item],
        value: Broadcast,
        after_death: Callable[[Item], Item] | None = None,
    ) -> Iterator[tuple[int, Outcome]]:
        """See MapEngine. A given scheduler has tries of its own, its `allowed-failures`, for each of these."""
        client = self.client
        finished: queue.SimpleQueue[Future] = queue.SimpleQueue()
        positions: dict[Future, int] = {}
        deaths = [0] * len(items)

        def submit(position: int, item: Item, priority: int, workers: list[str] | None = None) -> None:
            future = client.submit(
                run_packed,
                pickle.dumps((function, item)),
                value.on(client),
                pure=False,
                priority=priority,
                workers=workers,
                allow_other_workers=workers is not None,
            )
            positions[future] = position
            future.add_done_callback(finished.put)

        try:
            # The first ones are spread by hand: Dask would give all of them to the worker that has the value, and move
            # them to others only later, or never where it takes them for short.
            first = iter(self._threads_in_turn())
            for position, item in enumerate(items):
                submit(position, item, -position, next(first, None))
            left = len(items)
            while left:
                future = self._next(finished)
                position = positions.pop(future)
                try:
                    outcome = future.result()
                except KilledWorker as error:
                    item, tried_again = items[position], deaths[position] > 0
                    deaths[position] += error.allowed_failures + 1
                    if deaths[position] >= self._tries and (tried_again or after_death is None):
                        raise workers_died(item, deaths[position], self._last_death) from error
                    LOGGER.warning("%s", death(item, self._last_death))
                    # Before all that has not begun. Tasks that only waited for the worker are tried again like the one
                    # that it had in hand: Dask does not tell them apart.
                    submit(position, item if after_death is None else after_death(item), 1)
                    continue
                except Exception as error:
                    raise _explained(error, items[position]) from error
                left -= 1
                yield position, outcome
        finally:
            if client.status == "running":
                client.cancel(list(positions), force=True)

    def _threads_in_turn(self) -> list[list[str]]:
        """The worker of each thread, a first thread of all of them before a second one."""
        threads: dict[str, int] = {}
        if self.alive:
            with contextlib.suppress(OSError):  # whoever waits for the work learns why
                threads = self.client.nthreads()
        most = max(threads.values(), default=0)
        return [[worker] for number in range(most) for worker, count in threads.items() if number < count]

    def close(self) -> None:
        """Close the client; what it is connected to goes on. May be called twice."""
        # That it gives up connecting to a scheduler that went away is an error to its logger.
        logger = logging.getLogger("distributed.client")
        former, logger.disabled = logger.disabled, True
        try:
            self.client.close()
        finally:
            logger.disabled = former

    @property
    def _last_death(self) -> str:
        return "" if self._cluster is None else self._cluster.last_death

    def _next(self, finished: queue.SimpleQueue[Future]) -> Future:
        """The next future that has ended. Raises an error when nothing is left that could end one."""
        alone_since: float | None = None
        while True:
            try:
                return finished.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                pass
            if not self.alive:
                raise connection_lost("the scheduler has ended")
            silent: OSError | None = None
            try:
                workers = self.client.nthreads()
            except OSError as error:
                workers, silent = {}, error  # a machine that is busy beyond measure answers late
            if workers:
                alone_since = None
            elif alone_since is None:
                alone_since = time.monotonic()
                what = "no worker is there" if silent is None else "the scheduler does not answer"
                _LOGGER.warning("%s: waiting up to %g s", what, self._worker_seconds)
            elif time.monotonic() - alone_since > self._worker_seconds:
                if silent is not None:
                    raise connection_lost(silent)
                raise StageError(f"no worker was there for {self._worker_seconds:g} s", self._missing_workers_hint)

    @property
    def _missing_workers_hint(self) -> str:
        if self._given is not None:
            return f"Start workers for {self._given} (dask worker ADDRESS), then run again: what was done is kept."
        return "Most often memory: give the machine more, or use fewer --workers, and run again: what was done is kept."


def check_scheduler(address: str) -> None:
    """Raise InputError unless a scheduler answers. (A Client that cannot connect takes half a minute to go away.)"""

    async def ask() -> None:
        async with rpc(address, timeout=_CONNECT_SECONDS) as scheduler:
            await asyncio.wait_for(scheduler.identity(), _CONNECT_SECONDS)

    try:
        # In a thread of its own, as this one may have a running event loop.
        with ThreadPoolExecutor(1) as pool:
            pool.submit(asyncio.run, ask()).result()
    except (OSError, ValueError) as error:
        raise InputError(
            f"no Dask scheduler answers at {address!r}: {str(error) or 'what is there does not speak Dask'}",
            "Check --scheduler (tcp://HOST:8786), or leave it out to use this machine.",
        ) from error


def _explained(error: Exception, item: Any) -> FruitsError:
    """What a person needs of a failed task: the cause, and the shard."""
    if isinstance(error, FruitsError):
        return error
    if isinstance(error, FutureCancelledError | OSError):
        return connection_lost(error, item)
    return task_failed(item, type(error).__name__, error)
