"""A local Dask cluster in a process of its own, `engines.dask.cluster`, and what the engine knows of it.

Workers are started by importing the main module of the process that starts them again. There that is this module, never
the caller's: a script without a main guard, a notebook and standard input all work, and nothing of the folder a person
stands in is imported. Scheduler and workers talk to each other, and to the engine, over TLS on loopback with a
certificate made for this cluster alone: other users of the machine cannot hand them work.

The process writes one line of JSON to standard output (address, certificate, key), its warnings as lines of JSON to
standard error, and closes the cluster when its standard input ends: with the engine, however that ends.
"""

from __future__ import annotations

import contextlib
import json
import logging
import multiprocessing
import os
import re
import subprocess
import sys
import threading
from collections import deque
from typing import TYPE_CHECKING

from engines.core.endings import ending
from engines.core.errors import InputError, StageError

if TYPE_CHECKING:
    # Dask is imported with the first work.
    from distributed.security import Security

_STOP_SECONDS = 30
_LOG_LINES = 12

_DEATH = re.compile(
    r"Worker process \d+ (?:was killed by signal (?P<signal>\d+)|exited with status (?P<code>\d+))"
    r"|.*(?P<memory>exceeded \d+% memory budget)"
)
"""How a nanny says how its worker ended."""
_OURS = re.compile(
    r"Task \S+ marked as failed because \d+ workers died|.*lose already computed task"
    r"|.*TLS handshake failed.*UNEXPECTED_EOF"
)
"""What is of no use to a person: the engine says itself what it does about a worker's death; a connection that was not
made in time, on a busy machine, is made again.
"""


def check_semaphores() -> None:
    """Raise InputError unless processes on this machine can share a semaphore, which those of a cluster do."""
    try:
        multiprocessing.get_context("spawn").Semaphore()
    except (OSError, ImportError) as error:
        raise InputError(
            f"processes of Dask cannot share memory here: {getattr(error, 'strerror', None) or error}",
            "Give this machine or container a /dev/shm that can be written, or use --engine spark.",
        ) from error


def _configuration() -> dict[str, str]:
    """What hands the configuration of Dask in this process on to another, as environment."""
    dask = sys.modules.get("dask")
    # Where it was never imported, nobody has changed what another process finds by itself.
    return {} if dask is None else {"DASK_INTERNAL_INHERIT_CONFIG": dask.config.serialize(dask.config.config)}


class LocalClusterProcess:
    """The process, and what it takes to connect to its scheduler.

    Starting returns at once; `address` and `security` wait until the cluster is there.
    """

    def __init__(self, workers: int) -> None:
        self._log: deque[str] = deque(maxlen=_LOG_LINES)
        self._text: deque[str] = deque(maxlen=1)
        self._closing = False
        self.last_death = ""
        """How a worker of the cluster ended last, as its nanny says it."""
        self._answer: dict[str, str] | None = None
        # -P: not the modules of the current folder. The cluster's configuration of Dask is that of this process.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "engines.dask.cluster", str(workers)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **_configuration()},
            process_group=0,  # Ctrl-C is for the run, which then closes the cluster
        )
        self._reader = threading.Thread(target=self._read_log, name="dask-cluster-log", daemon=True)
        self._reader.start()

    @property
    def address(self) -> str:
        """The scheduler's address. Raises StageError when the cluster does not start."""
        return self._connection()["address"]

    @property
    def security(self) -> Security:
        """What a Client needs to be let in. Raises StageError when the cluster does not start."""
        from distributed.security import Security

        certificate, key = self._connection()["certificate"], self._connection()["key"]
        return Security(
            require_encryption=True, tls_ca_file=certificate, tls_client_cert=certificate, tls_client_key=key
        )

    @property
    def alive(self) -> bool:
        """Whether the process is there."""
        return self._process.poll() is None

    def close(self) -> None:
        """Close the cluster. May be called twice."""
        self._closing = True
        assert self._process.stdin is not None  # noqa: S101 - a pipe
        with contextlib.suppress(BrokenPipeError):  # it has ended already
            self._process.stdin.close()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(_STOP_SECONDS)

    def _connection(self) -> dict[str, str]:
        if self._answer is None:
            assert self._process.stdout is not None  # noqa: S101 - a pipe
            line = self._process.stdout.readline()
            answer = json.loads(line or "{}")
            if "address" not in answer:
                self._process.wait()
                self._reader.join(_STOP_SECONDS)
                # What the workers say first is the cause; what the cluster raises at last is that they are not there.
                why = [*self._log, answer.get("error"), *self._text, "it ended without a word"]
                raise StageError(f"the local Dask cluster does not start: {next(filter(None, why))}")
            self._answer = answer
        return self._answer

    def _read_log(self) -> None:
        """Hand warnings of the cluster to the loggers of the same names here; keep the last lines of all else."""
        assert self._process.stderr is not None  # noqa: S101 - a pipe
        for line in self._process.stderr:
            try:
                name, level, message = json.loads(line)
            except ValueError:
                self._text.append(line.strip())  # tracebacks, and what programs that workers start have to say
                continue
            if said := _DEATH.match(message):
                # One that exceeds its memory is ended by its nanny, which then says that, too.
                self.last_death = said["memory"] or ending(
                    -int(said["signal"]) if said["signal"] else int(said["code"])
                )
            if level < logging.WARNING or _OURS.match(message):
                continue
            self._log.append(message)
            # How workers end while it closes is of no consequence; if it does not start, the cause is in its answer.
            if not self._closing and self._answer is not None:
                logging.getLogger(name).log(level, "%s", message)
