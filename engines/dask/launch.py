"""A local Dask cluster in a process of its own: `python -P -m engines.dask.launch WORKERS`.

Workers are started by importing the main module of the process that starts them again. Here that is this module, never
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
import tempfile
import threading
import time
from collections import deque
from typing import IO, Any

import dask
from distributed import LocalCluster
from distributed.security import Security

from engines.core.endings import ending
from engines.core.errors import InputError, StageError
from engines.core.scratch import PROCESSES, scratch_folder

_STOP_SECONDS = 30
_LOG_LINES = 12

_SETTINGS = {
    # A fork of a process with threads may hang.
    "distributed.worker.multiprocessing-method": "spawn",
    # A worker that takes long to start again must not be given up without a word, which is what 15 s came to.
    "distributed.deploy.lost-worker-timeout": "1 hour",
    # The engine tries again by itself: it gives the task precautions for that.
    "distributed.scheduler.allowed-failures": 0,
}
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
            [sys.executable, "-P", "-m", __name__, str(workers)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "DASK_INTERNAL_INHERIT_CONFIG": dask.config.serialize(dask.config.config)},
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


class _JsonLines(logging.Handler):
    def __init__(self, target: IO[str]) -> None:
        super().__init__()
        self._target = target

    def emit(self, record: logging.LogRecord) -> None:
        # The first line: what follows is a traceback or a list of keys, of use to developers of the library.
        message = record.getMessage().partition("\n")[0]
        if record.exc_info and record.exc_info[1] is not None:
            message = f"{message} ({_root_cause(record.exc_info[1])})"
        print(json.dumps([record.name, record.levelno, message]), file=self._target, flush=True)


def _cluster(workers: int, security: Security) -> LocalCluster:
    return LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        protocol="tls://",
        security=security,
        dashboard_address="127.0.0.1:0",  # None would take port 8787, or warn that another cluster has it
        preload=["engines.dask.worker"],
    )


def _root_cause(error: BaseException) -> str:
    """What an error was raised for in the first place, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _end_with_input(ended: threading.Event) -> None:
    """Say when standard input ends. What then does not close, such as a cluster that is still starting, is ended."""
    while os.read(0, 4096):
        pass
    ended.set()
    time.sleep(_STOP_SECONDS)
    os._exit(1)  # workers end with this process


def main(workers: int) -> None:
    """Serve a cluster until standard input ends."""
    ended = threading.Event()
    threading.Thread(target=_end_with_input, args=(ended,), name="end-with-input", daemon=True).start()
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else is printed is for the log
    logger = logging.getLogger("distributed")
    logger.handlers[:] = [_JsonLines(sys.stderr)]
    logger.setLevel(logging.WARNING)
    logging.getLogger("distributed.nanny").setLevel(logging.INFO)  # how a worker ended
    logger.propagate = False
    dask.config.set(_SETTINGS)
    parent = dask.config.get("temporary-directory") or tempfile.gettempdir()
    with scratch_folder(PROCESSES, parent) as scratch, dask.config.set({"temporary-directory": scratch}):
        _serve(workers, answer, ended)


def _serve(workers: int, answer: IO[str], ended: threading.Event) -> None:
    security = Security.temporary()
    try:
        cluster = _cluster(workers, security)
    except Exception as error:
        # Whatever it is, a person is told its cause, in one line.
        answer.write(json.dumps({"error": _root_cause(error)}) + "\n")
        answer.flush()
        raise
    with cluster:
        connection: dict[str, Any] = {
            "address": cluster.scheduler_address,
            "certificate": security.tls_client_cert,
            "key": security.tls_client_key,
        }
        answer.write(json.dumps(connection) + "\n")
        answer.flush()
        ended.wait()
        logging.getLogger("distributed").setLevel(logging.CRITICAL)


if __name__ == "__main__":
    main(int(sys.argv[1]))
