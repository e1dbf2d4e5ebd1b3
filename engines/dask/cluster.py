"""The process of a local Dask cluster: `python -P -m engines.dask.cluster WORKERS`, see `engines.dask.launch`.

Where forks are safe, its workers are forked from a server that has imported what they need once and started nothing,
while this process still imports what a scheduler needs.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import multiprocessing.forkserver
import os
import shutil
import sys
import tempfile
import threading
import time
from typing import IO, TYPE_CHECKING, Any

import dask

from engines.core.scratch import PROCESSES, scratch_folder

if TYPE_CHECKING:
    from distributed import LocalCluster
    from distributed.security import Security

_STOP_SECONDS = 30

_LONGEST_SOCKET = 107
"""Bytes of the name of a socket in a folder, on Linux (unix(7))."""

_SOCKET = "/pymp-12345678/listener-12345678"
"""How `multiprocessing` names its server's socket in the folder for temporary files."""

_PRELOAD = ["engines.dask.preload"]

_ENVIRONMENT = {
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
"""What Dask sets for its workers (`distributed.nanny.pre-spawn-environ`), which a fork takes from the server."""

_SETTINGS = {
    # A worker that takes long to start again must not be given up without a word, which is what 15 s came to.
    "distributed.deploy.lost-worker-timeout": "1 hour",
    # The engine tries again by itself: it gives the task precautions for that.
    "distributed.scheduler.allowed-failures": 0,
    # What Dask measures of itself for a page that nobody opens takes some 4 % of a core in each process: the stack of
    # each worker a hundred times a second, the loop fifty times, disks and network twice.
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "500ms",
    "distributed.admin.system-monitor.interval": "10s",
    "distributed.admin.system-monitor.disk": False,
}


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
    from distributed import LocalCluster

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


def _forks(scratch: str) -> bool:
    """Whether workers may be forked from a server with its socket in `scratch`.

    Elsewhere than on Linux libraries start threads when they are imported, which a fork does not survive.
    """
    return sys.platform == "linux" and len(os.fsencode(scratch + _SOCKET)) <= _LONGEST_SOCKET


def _start_forkserver() -> None:
    """Start the server of processes that workers are forked from, with what Dask has it set in their environment."""
    asked = dask.config.get("distributed.nanny.pre-spawn-environ", {})
    os.environ.update({name: str(value) for name, value in {**_ENVIRONMENT, **asked}.items()})
    multiprocessing.set_forkserver_preload(_PRELOAD)
    multiprocessing.forkserver.ensure_running()


def _keep_preload() -> None:
    """Have a server that has to be started again import what the first one did.

    Dask sets a list of its own when it first makes a process, with pandas in it.
    """
    from distributed.utils import get_mp_context

    get_mp_context()
    multiprocessing.set_forkserver_preload(_PRELOAD)


def _end_with_input(scratch: str, serving: threading.Event, ended: threading.Event) -> None:
    """Say when standard input ends. A cluster that does not serve yet, or does not close, is ended."""
    while os.read(0, 4096):
        pass
    ended.set()
    if serving.is_set():
        time.sleep(_STOP_SECONDS)
    shutil.rmtree(scratch, ignore_errors=True)
    os._exit(1)  # workers end with this process


def main(workers: int) -> None:
    """Serve a cluster until standard input ends."""
    serving, ended = threading.Event(), threading.Event()
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else is printed is for the log
    with scratch_folder(PROCESSES, dask.config.get("temporary-directory") or tempfile.gettempdir()) as scratch:
        tempfile.tempdir = scratch
        watched = (scratch, serving, ended)
        threading.Thread(target=_end_with_input, args=watched, name="end-with-input", daemon=True).start()
        _start(workers, scratch, answer, serving, ended)
    os._exit(0)  # nothing is left to do, and taking all modules apart is not worth the wait


def _start(workers: int, scratch: str, answer: IO[str], serving: threading.Event, ended: threading.Event) -> None:
    """Serve a cluster whose processes have their files in `scratch`."""
    forks = _forks(scratch)
    if forks:
        _start_forkserver()
    # It takes half a second, in which the server does the same.
    from distributed.security import Security

    logger = logging.getLogger("distributed")
    logger.handlers[:] = [_JsonLines(sys.stderr)]
    logger.setLevel(logging.WARNING)
    logging.getLogger("distributed.nanny").setLevel(logging.INFO)  # how a worker ended
    logger.propagate = False
    dask.config.set(_SETTINGS)
    # Never `fork`: that of a process with threads may hang.
    method = "forkserver" if forks else "spawn"
    dask.config.set({"temporary-directory": scratch, "distributed.worker.multiprocessing-method": method})
    if forks:
        _keep_preload()
    _serve(workers, Security.temporary(), answer, serving, ended)


def _serve(workers: int, security: Security, answer: IO[str], serving: threading.Event, ended: threading.Event) -> None:
    try:
        cluster = _cluster(workers, security)
    except Exception as error:
        # Whatever it is, a person is told its cause, in one line.
        answer.write(json.dumps({"error": _root_cause(error)}) + "\n")
        answer.flush()
        raise
    serving.set()
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
