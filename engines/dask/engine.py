"""The primitives on dask.distributed: a local cluster of its own, or any scheduler by its address."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from engines.core.errors import InputError
from engines.dask.launch import LocalClusterProcess, check_semaphores
from engines.machine import usable_cores
from engines.map_engine import MapEngine
from engines.patience import Patience

if TYPE_CHECKING:
    # Imported with the first work: a run that finds everything done needs no Dask.
    from engines.dask.connection import Broadcast, Connection

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


class DaskEngine(MapEngine):
    """Dask workers: one process per core with one thread each, or those of `scheduler`.

    `workers`: processes of the local cluster, all usable cores by default. `scheduler`: the address of a running
    scheduler (`tcp://HOST:8786`), whose workers need fruit-features[worker] in the same versions. A local cluster
    starts with the first stage that has work for it, or when work is announced. Raises InputError when no scheduler
    answers at the address.
    """

    name: ClassVar[str] = "dask"
    # Those that Dask gives handlers of their own, which print tracebacks.
    loggers: ClassVar[tuple[str, ...]] = ("distributed", "distributed.client", "distributed.gc")

    def __init__(
        self, workers: int | None = None, scheduler: str | None = None, patience: Patience | None = None
    ) -> None:
        super().__init__()
        if find_spec("distributed") is None:
            raise ModuleNotFoundError("No module named 'distributed'", name="distributed")
        if workers is not None and workers < 1:
            raise InputError(f"{workers} workers cannot do anything", "Give at least 1.")
        if workers is not None and scheduler is not None:
            raise InputError("a given scheduler has its own workers", "Give --workers or --scheduler, not both.")
        self._workers = workers or usable_cores()
        self._patience = patience or Patience()
        self._scheduler = scheduler
        self._cluster: LocalClusterProcess | None = None
        self._connection: Connection | None = None
        # Now, and not after minutes of other work.
        if scheduler is not None:
            _dask().check_scheduler(scheduler)
        else:
            check_semaphores()

    @property
    def parallelism(self) -> int:
        """See MapEngine."""
        return self._workers if self._scheduler is None else max(1, self._connected().threads)

    def map(
        self,
        function: Callable[[Item, Any], Outcome],
        items: Sequence[Item],
        value: Broadcast,
        after_death: Callable[[Item], Item] | None = None,
    ) -> Iterator[tuple[int, Outcome]]:
        """See MapEngine. A given scheduler has tries of its own, its `allowed-failures`, for each of these."""
        return self._connected().map(function, items, value, after_death)

    def broadcast(self, value: Any) -> Broadcast:
        """See MapEngine."""
        made: Broadcast = _dask().Broadcast(value)
        return made

    def expect_work(self) -> None:
        """See Engine. The process of a local cluster needs a second or two until its workers are there."""
        if self._scheduler is None and self._cluster is None:
            self._cluster = LocalClusterProcess(self._workers)

    def describe(self) -> dict[str, str | int]:
        """See Engine."""
        return {"scheduler": self._scheduler} if self._scheduler else {"workers": self._workers}

    def close(self) -> None:
        """See Engine. A given scheduler goes on; only the connection to it is closed."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._cluster is not None:
            self._cluster.close()
            self._cluster = None

    def _connected(self) -> Connection:
        alive = self._cluster is None or self._cluster.alive
        if self._connection is not None and self._connection.alive and alive:
            return self._connection
        if self._connection is not None or not alive:
            self.close()  # what is left of a scheduler that went away
        self.expect_work()
        made: Connection = _dask().Connection(self._scheduler, self._cluster, self._patience)
        self._connection = made
        return made


def _dask() -> Any:
    """The module `engines.dask.connection`, imported with the first work.

    Dask sets its loggers up when it is imported. Whoever listens to them already goes on alone.
    """
    loggers = [logging.getLogger(name) for name in DaskEngine.loggers]
    former = [(logger, logger.level, logger.propagate, logger.handlers[:]) for logger in loggers]
    first = "distributed" not in sys.modules
    from engines.dask import connection

    for logger, level, propagate, handlers in former:
        if first and handlers:
            logger.handlers[:] = handlers
            logger.propagate = propagate
            logger.setLevel(level)
    return connection
