"""Starting and stopping a Spark driver: Java, the master, the settings, and the JVM that Python talks to."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from py4j.protocol import Py4JError
from pyspark import SparkConf, SparkContext
from pyspark.errors import PySparkRuntimeError
from pyspark.java_gateway import launch_gateway

from engines.core.errors import InputError, StageError

MAX_FAILURES = 4
"""Attempts per task, as Spark's own default on a cluster; a local master makes only one unless told."""

_OLDEST_JAVA = 17
_CONNECT_SECONDS = 15
_STOP_SECONDS = 20
_LOG_LINES = 12
_INSTALL_JAVA = (
    "Install Java 17 (Debian, Ubuntu: apt install openjdk-17-jre-headless; macOS: brew install openjdk@17), "
    "or set JAVA_HOME to it."
)


def check_java() -> None:
    """Raise InputError unless the Java that Spark would start is there and is at least 17."""
    home = os.environ.get("JAVA_HOME")
    command = os.path.join(home, "bin", "java") if home else "java"
    named = f"{command} (from JAVA_HOME)" if home else "no java on the PATH"
    try:
        done = subprocess.run([command, "-version"], capture_output=True, text=True, check=False)
    except OSError:
        raise InputError(f"Spark needs Java {_OLDEST_JAVA} and found none: {named}", _INSTALL_JAVA) from None
    version = re.search(r'version "(?:1\.)?(\d+)', done.stderr + done.stdout)
    if done.returncode != 0 or version is None:
        raise InputError(f"Spark needs Java {_OLDEST_JAVA}, and `{command} -version` fails", _INSTALL_JAVA)
    if int(version.group(1)) < _OLDEST_JAVA:
        raise InputError(
            f"Spark needs Java {_OLDEST_JAVA} or newer, and {command} is {version.group(1)}", _INSTALL_JAVA
        )


def normalize_master(master: str) -> str:
    """The master as Spark is given it: local ones with `MAX_FAILURES`. Raises InputError for one of no known form."""
    local = re.fullmatch(r"local(?:\[(\*|[1-9][0-9]*)\])?", master)
    if local:
        return f"local[{local.group(1) or 1},{MAX_FAILURES}]"
    if re.fullmatch(r"local\[(\*|[1-9][0-9]*),[1-9][0-9]*\]|spark://[^/:]+:\d+(,[^/:]+:\d+)*|yarn|k8s://.+", master):
        return master
    raise InputError(
        f"unknown Spark master {master!r}", "Give local[*], local[N], spark://HOST:PORT or yarn with --master."
    )


def check_master(master: str) -> None:
    """Raise InputError when nobody answers at the master's address: Spark itself would wait a minute to say so."""
    if master == "yarn" and not (os.environ.get("HADOOP_CONF_DIR") or os.environ.get("YARN_CONF_DIR")):
        raise InputError("the master yarn needs the cluster's configuration", "Set HADOOP_CONF_DIR to its folder.")
    if not master.startswith("spark://"):
        return
    reasons = []
    for address in master.removeprefix("spark://").split(","):
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
        except OSError as error:
            reasons.append(f"{address}: {error.strerror or error}")
        else:
            return
    raise InputError(f"no Spark master answers at {master} ({'; '.join(reasons)})", "Check --master, and that it runs.")


def driver_settings(master: str, *, verbose: bool, overrides: Mapping[str, str]) -> dict[str, str]:
    """The Spark settings of a driver that this engine starts. `overrides` win."""
    log = Path(__file__).with_name("log4j2.properties")
    settings = {
        "spark.app.name": "fruit-features",
        "spark.master": master,
        "spark.submit.deployMode": "client",
        # Moments of 13 MB from up to 32 groups, twice over when tasks are speculated.
        "spark.driver.maxResultSize": "2g",
        "spark.driver.memory": "2g",
        "spark.driver.defaultJavaOptions": (
            f'"-Dlog4j2.configurationFile={log.as_uri()}" -Dfruits.log.level={"info" if verbose else "warn"}'
        ),
        "spark.task.maxFailures": str(MAX_FAILURES),
        "spark.task.cpus": "1",
        "spark.python.worker.reuse": "true",
        "spark.python.worker.faulthandler.enabled": "true",
        "spark.ui.showConsoleProgress": "false",
        # A task is one thread: the engine has one per core.
        "spark.executorEnv.OMP_NUM_THREADS": "1",
        "spark.executorEnv.OPENBLAS_NUM_THREADS": "1",
        "spark.executorEnv.MKL_NUM_THREADS": "1",
    }
    if re.match(r"local|spark://(localhost|127\.)", master):
        # Nothing listens beyond this machine, and its name need not resolve.
        settings |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
    if master.startswith("local"):
        settings["spark.ui.enabled"] = "false"
        # This JVM only hands out tasks, on cores the network needs. Its optimizing compiler and its collector's threads
        # took 11 s of CPU in a short run, of 21 s.
        settings["spark.driver.defaultJavaOptions"] += " -XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
    if master == "yarn":
        # The work is done by Python, outside of the JVM's memory.
        settings |= {"spark.executor.memory": "1g", "spark.executor.memoryOverhead": "2g", "spark.executor.cores": "2"}
    return settings | dict(overrides)


class Driver:
    """A Spark driver of our own: a JVM started for it, and stopped with it."""

    def __init__(self, settings: Mapping[str, str], python: str, *, verbose: bool) -> None:
        """Start it. Python workers run `python`. Raises StageError when Spark does not start."""
        # What the JVM and the Python workers write goes to a file of no name, and is shown when starting fails.
        self._log: IO[bytes] | None = None if verbose else tempfile.TemporaryFile()  # noqa: SIM115 - closed in stop
        # pyspark keeps the gateway of a context that was stopped, with the settings of that one, for the next context.
        self._former = SparkContext._gateway, SparkContext._jvm
        SparkContext._gateway, SparkContext._jvm = None, None
        conf = SparkConf(loadDefaults=False)  # only now: it would be made in the former JVM, if there was one
        for name, value in settings.items():
            conf.set(name, value)
        try:
            self._gateway = launch_gateway(conf, {"stdout": self._log, "stderr": self._log})
            with _kept_interrupt_handler():
                self.context = SparkContext(conf=conf, gateway=self._gateway)
        except (PySparkRuntimeError, Py4JError, OSError) as error:
            failure = StageError("Spark does not start", self.log_tail() or str(error))
            self._stop_gateway()
            raise failure from error
        # A virtual environment's Python is not the python3 of the PATH, which is what Spark would take.
        self.context.pythonExec = os.environ.get("PYSPARK_PYTHON", python)

    def log_tail(self) -> str:
        """The last lines of the JVM's log; "" when it was shown all along."""
        if self._log is None:
            return ""
        self._log.seek(0)
        return "\n".join(self._log.read().decode(errors="replace").splitlines()[-_LOG_LINES:])

    def stop(self) -> None:
        """Stop the context and the JVM, which may be dead already."""
        try:
            self.context.stop()
        except (Py4JError, OSError):
            self.context.stop()  # the JVM is dead; the second call clears what is left on the side of Python
        self._stop_gateway()

    def _stop_gateway(self) -> None:
        gateway = getattr(self, "_gateway", None)
        SparkContext._gateway, SparkContext._jvm = self._former
        if gateway is not None:
            with contextlib.suppress(Py4JError, OSError):  # a JVM that is dead need not be told
                gateway.shutdown()
            gateway.proc.stdin.close()  # the JVM's sign to exit
            try:
                gateway.proc.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                gateway.proc.kill()
                gateway.proc.wait()
        if self._log is not None:
            self._log.close()
            self._log = None


@contextlib.contextmanager
def _kept_interrupt_handler() -> Iterator[None]:
    """Undo that SparkContext takes Ctrl-C for itself, for good."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
