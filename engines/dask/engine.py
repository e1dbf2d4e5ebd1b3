"""The primitives on dask.distributed: a local cluster of its own, or any scheduler by its address."""

from __future__ import annotations

import asyncio
import logging
import queue
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, TypeVar

from distributed import Client, Future, rpc
from distributed.client import FutureCancelledError
from distributed.scheduler import KilledWorker

from engines.core.errors import FruitsError, InputError, StageError
from engines.dask.launch import LocalClusterProcess, check_semaphores
from engines.machine import usable_cores
from engines.map_engine import LOGGER, MapEngine
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


class Broadcast:
    """A value for the workers: a task that returns it, which unlike scattered data is made again when they are lost."""

    def __init__(self, value: Any) -> None:
        self._value = value
        self._future: Future | None = None

    def on(self, client: Client) -> Future:
        """The task; another one when it ended with its worker, or with its scheduler."""
        if self._future is None or self._future.client is not client or self._future.status not in _GOOD:
            self._future = client.submit(_identity, self._value, pure=False)
        return self._future


class DaskEngine(MapEngine):
    """Dask workers: one process per core with one thread each, or those of `scheduler`.

    `workers`: processes of the local cluster, all usable cores by default. `scheduler`: the address of a running
    scheduler (`tcp://HOST:8786`), whose workers need fruit-features[worker] in the same versions. A local cluster
    starts with the first stage that has work for it. Raises InputError when no scheduler answers at the address.
    """

    name: ClassVar[str] = "dask"
    loggers: ClassVar[tuple[str, ...]] = ("distributed",)

    def __init__(
        self, workers: int | None = None, scheduler: str | None = None, patience: Patience | None = None
    ) -> None:
        super().__init__()
        if workers is not None and workers < 1:
            raise InputError(f"{workers} workers cannot do anything", "Give at least 1.")
        if workers is not None and scheduler is not None:
            raise InputError("a given scheduler has its own workers", "Give --workers or --scheduler, not both.")
        self._workers = workers or usable_cores()
        patience = patience or Patience()
        self._tries = patience.tries
        self._worker_seconds = patience.worker_seconds or WORKER_SECONDS
        self._scheduler = scheduler
        self._cluster: LocalClusterProcess | None = None
        self._client: Client | None = None
        # Now, and not after minutes of other work.
        if scheduler is not None:
            _check_scheduler(scheduler)
        else:
            check_semaphores()

    @property
    def parallelism(self) -> int:
        """See MapEngine."""
        if self._scheduler is None:
            return self._workers
        threads: dict[str, int] = self._connected().nthreads()
        return max(1, sum(threads.values()))

    def map(
        self,
        function: Callable[[Item, Any], Outcome],
        items: Sequence[Item],
        value: Broadcast,
        after_death: Callable[[Item], Item] | None = None,
    ) -> Iterator[tuple[int, Outcome]]:
        """See MapEngine. A given scheduler has tries of its own, its `allowed-failures`, for each of these."""
        client = self._connected()
        finished: queue.SimpleQueue[Future] = queue.SimpleQueue()
        positions: dict[Future, int] = {}
        deaths = [0] * len(items)

        def submit(position: int, item: Item, priority: int) -> None:
            future = client.submit(function, item, value.on(client), pure=False, priority=priority)
            positions[future] = position
            future.add_done_callback(finished.put)

        try:
            for position, item in enumerate(items):
                submit(position, item, -position)
            left = len(items)
            while left:
                future = self._next(client, finished)
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

    @property
    def _last_death(self) -> str:
        return "" if self._cluster is None else self._cluster.last_death

    def _next(self, client: Client, finished: queue.SimpleQueue[Future]) -> Future:
        """The next future that has ended. Raises an error when nothing is left that could end one."""
        alone_since: float | None = None
        while True:
            try:
                return finished.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                pass
            if client.status != "running" or (self._cluster is not None and not self._cluster.alive):
                raise connection_lost("the scheduler has ended")
            silent: OSError | None = None
            try:
                workers = client.nthreads()
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
        if self._scheduler is not None:
            return f"Start workers for {self._scheduler} (dask worker ADDRESS), then run again: what was done is kept."
        return "Most often memory: give the machine more, or use fewer --workers, and run again: what was done is kept."

    def broadcast(self, value: Any) -> Broadcast:
        """See MapEngine."""
        return Broadcast(value)

    def describe(self) -> dict[str, str | int]:
        """See Engine."""
        return {"scheduler": self._scheduler} if self._scheduler else {"workers": self._workers}

    def close(self) -> None:
        """See Engine. A given scheduler goes on; only the connection to it is closed."""
        if self._client is not None:
            self._client.close()
            self._client = None
        if self._cluster is not None:
            self._cluster.close()
            self._cluster = None

    def _connected(self) -> Client:
        alive = self._cluster is None or self._cluster.alive
        if self._client is not None and self._client.status == "running" and alive:
            return self._client
        self.close()  # what is left of a scheduler that went away
        if self._scheduler is not None:
            self._client = Client(self._scheduler, timeout=_CONNECT_SECONDS)
            return self._client
        self._cluster = LocalClusterProcess(self._workers)
        self._client = Client(self._cluster.address, security=self._cluster.security, timeout=_CONNECT_SECONDS)
        return self._client


def _check_scheduler(address: str) -> None:
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


def _identity(value: Any) -> Any:
    return value


def _explained(error: Exception, item: Any) -> FruitsError:
    """What a person needs of a failed task: the cause, and the shard."""
    if isinstance(error, FruitsError):
        return error
    if isinstance(error, FutureCancelledError | OSError):
        return connection_lost(error, item)
    return task_failed(item, type(error).__name__, error)
