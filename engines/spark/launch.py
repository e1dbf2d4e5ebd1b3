"""Starts and stops a Spark driver: a JVM, and the context in it."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from py4j.protocol import Py4JError, Py4JJavaError
from pyspark import SparkConf, SparkContext
from pyspark.errors import PySparkRuntimeError
from pyspark.java_gateway import launch_gateway

from engines.core.errors import StageError
from engines.core.scratch import PROCESSES, scratch_folder
from engines.spark.settings import driver_settings, launch_variables

_STOP_SECONDS = 20
_OTHER_LINES = re.compile(
    r"\s*$|\s+at |Picked up |WARNING: |NOTE: |Using Spark's |Setting default log level|To adjust |"
    r"Error occurred during initialization of VM$"
)
"""Lines of the JVM's log that tell of no error, or do not say which."""
_LOG_LINE = re.compile(r"(?:\d\d:\d\d:\d\d (?P<level>[A-Z]+) \S+: )?(?P<text>.*)")
"""A line as log4j2.properties lays it out; what else the JVM writes has no level."""


def first_error(log: str) -> str:
    """The first line of the JVM's log that tells of an error; "" when there is none."""
    for line in log.splitlines():
        match = _LOG_LINE.match(line)
        if match is not None and not _OTHER_LINES.match(line) and match["level"] in (None, "ERROR", "FATAL"):
            return match["text"].strip()
    return ""


class Driver:
    """A Spark driver of our own: a JVM that is started for it, and stopped with it."""

    def __init__(self, master: str, overrides: Mapping[str, str], python: str, *, tries: int, verbose: bool) -> None:
        """Start it, with the settings `overrides` beside our own. Its Python workers run `python`; those of a cluster
        run PYSPARK_PYTHON if it is set.

        Raises StageError with the cause if Spark does not start.
        """
        # The JVM and the Python workers write to an unnamed file, which is only read if the start fails.
        self._log: IO[bytes] | None = None if verbose else tempfile.TemporaryFile()  # noqa: SIM115 - closed in stop
        # pyspark keeps the gateway of a stopped context, and its settings, for the next context. It has no public way
        # to start another JVM, which is needed after a JVM has died and for other settings.
        self._former = SparkContext._gateway, SparkContext._jvm
        SparkContext._gateway, SparkContext._jvm = None, None
        self._ended = contextlib.ExitStack()
        # For good: its threads may meet a JVM that is gone after the driver has been stopped.
        logging.root.addFilter(_is_of_another)
        scratch = self._ended.enter_context(scratch_folder(PROCESSES, tempfile.gettempdir()))
        conf = SparkConf(loadDefaults=False)  # not earlier: with a former gateway it would be made in that JVM
        for name, value in driver_settings(master, scratch, tries=tries, verbose=verbose, overrides=overrides).items():
            conf.set(name, value)
        try:
            with _environment(launch_variables(master, scratch, os.environ)):
                self._gateway = launch_gateway(conf, {"stdout": self._log, "stderr": self._log})
            with _kept_interrupt_handler():
                self.context = SparkContext(conf=conf, gateway=self._gateway)
            _silence_lost_connections(self.context)
        except (PySparkRuntimeError, Py4JError, OSError) as error:
            failure = StageError(
                f"Spark does not start: {self._cause(error)}", "`--verbose` shows everything that Spark writes."
            )
            self._stop_gateway()
            raise failure from error
        # Spark would take the python3 of the PATH, which is not the Python of a virtual environment.
        chosen = None if master.startswith("local") else os.environ.get("PYSPARK_PYTHON")
        self.context.pythonExec = chosen or python

    def _cause(self, error: Exception) -> str:
        """Why Spark did not start, in one line."""
        if isinstance(error, Py4JJavaError):
            return str(error.java_exception.toString()).splitlines()[0]
        log = ""
        if self._log is not None:
            self._log.seek(0)
            log = self._log.read().decode(errors="replace")
        return first_error(log) or str(error)

    def stop(self) -> None:
        """Stop the context and the JVM, which may be dead already."""
        stop_context(self.context)
        self._stop_gateway()

    def _stop_gateway(self) -> None:
        gateway = getattr(self, "_gateway", None)
        SparkContext._gateway, SparkContext._jvm = self._former
        if gateway is not None:
            with contextlib.suppress(Py4JError, OSError):  # a dead JVM need not be told
                gateway.shutdown()
            gateway.proc.stdin.close()  # the JVM exits when this is closed
            try:
                gateway.proc.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                gateway.proc.kill()
                gateway.proc.wait()
        if self._log is not None:
            self._log.close()
            self._log = None
        self._ended.close()


def _is_of_another(record: logging.LogRecord) -> bool:
    """Whether a record of the root logger is not of py4j, which writes there with its traceback what it raises too."""
    return Path(record.pathname).parent.name != "py4j"


def _silence_lost_connections(context: SparkContext) -> None:
    """Have the server that receives accumulators not print that its connection is gone: whoever waits for a job learns
    it.
    """
    server = context._accumulatorServer
    print_error = server.handle_error

    def handle_error(request: object, address: object) -> None:
        if not isinstance(sys.exc_info()[1], EOFError | OSError):
            print_error(request, address)

    server.handle_error = handle_error


def stop_context(context: SparkContext) -> None:
    """Stop a context, whose JVM may be dead already."""
    try:
        context.stop()
    except (Py4JError, OSError):
        context.stop()  # the JVM is dead; the second call clears pyspark's own state


@contextlib.contextmanager
def _environment(changes: Mapping[str, str | None]) -> Iterator[None]:
    """Change variables of this process: launch_gateway hands all of them to the JVM, and takes no others."""
    former = {name: os.environ.get(name) for name in changes}
    _set_variables(changes)
    try:
        yield
    finally:
        _set_variables(former)


def _set_variables(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@contextlib.contextmanager
def _kept_interrupt_handler() -> Iterator[None]:
    """Keep this process's handler of Ctrl-C, which SparkContext replaces by its own for good."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
