"""The primitives on dask.distributed: a local cluster of its own, or any scheduler by its address."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, TypeVar

import dask
from distributed import Client, Future, LocalCluster, as_completed
from distributed.client import FutureCancelledError
from distributed.scheduler import KilledWorker

from engines.core.errors import FruitsError, InputError
from engines.map_engine import MapEngine
from engines.task_errors import connection_lost, task_failed, workers_died
from engines.workers import usable_cores

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

_CONNECT_SECONDS = 15


class DaskEngine(MapEngine):
    """Dask workers: one process per core with one thread each, or those of `scheduler`.

    `workers`: processes of the local cluster, all usable cores by default. `scheduler`: the address of a running
    scheduler (`tcp://HOST:8786`), whose workers need fruit-features[worker] in the same versions. The cluster starts
    with the first stage that has work for it.
    """

    name: ClassVar[str] = "dask"
    loggers: ClassVar[tuple[str, ...]] = ("distributed",)

    def __init__(self, workers: int | None = None, scheduler: str | None = None) -> None:
        super().__init__()
        if workers is not None and workers < 1:
            raise InputError(f"{workers} workers cannot do anything", "Give at least 1.")
        if workers is not None and scheduler is not None:
            raise InputError("a given scheduler has its own workers", "Give --workers or --scheduler, not both.")
        self._workers = workers or usable_cores()
        self._scheduler = scheduler
        self._cluster: LocalCluster | None = None
        self._client: Client | None = None

    @property
    def parallelism(self) -> int:
        """See MapEngine."""
        if self._scheduler is None:
            return self._workers
        threads: dict[str, int] = self._connected().nthreads()
        return max(1, sum(threads.values()))

    def map(
        self, function: Callable[[Item, Any], Outcome], items: Sequence[Item], value: Any
    ) -> Iterator[tuple[int, Outcome]]:
        """See MapEngine. A worker that dies is replaced and its shards run again, up to Dask's `allowed-failures`."""
        client = self._connected()
        futures: dict[Future, int] = {
            client.submit(function, item, value, pure=False, priority=-position): position
            for position, item in enumerate(items)
        }
        try:
            for future in as_completed(futures):
                try:
                    outcome = future.result()
                except Exception as error:
                    raise _explained(error, items[futures[future]]) from error
                yield futures[future], outcome
        finally:
            client.cancel(list(futures), force=True)

    def broadcast(self, value: Any) -> Any:
        """A task that returns `value`: unlike scattered data, Dask can make it again when its workers are lost."""
        return self._connected().submit(_identity, value, pure=False)

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
        if self._client is None:
            self._client = Client(self._scheduler or self._local_cluster(), timeout=_CONNECT_SECONDS)
        return self._client

    def _local_cluster(self) -> LocalCluster:
        with dask.config.set({"distributed.worker.multiprocessing-method": "spawn"}):
            self._cluster = LocalCluster(
                n_workers=self._workers,
                threads_per_worker=1,
                processes=True,
                dashboard_address=None,
                silence_logs=logging.CRITICAL,
                preload=["engines.dask_worker"],
            )
        return self._cluster


def _identity(value: Any) -> Any:
    return value


def _explained(error: Exception, item: Any) -> FruitsError:
    """What a person needs of a failed task: the cause, and the shard."""
    if isinstance(error, FruitsError):
        return error
    if isinstance(error, KilledWorker):
        return workers_died(item, error.allowed_failures + 1)
    if isinstance(error, FutureCancelledError | OSError):
        return connection_lost(error, item)
    return task_failed(item, type(error).__name__, error)
