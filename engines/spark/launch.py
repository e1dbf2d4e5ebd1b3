"""Starts and stops a Spark driver: checks Java and the master, chooses the settings, and launches the JVM."""

from __future__ import annotations

import contextlib
import logging
import os
import pwd
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import pyspark
from py4j.protocol import Py4JError, Py4JJavaError
from pyspark import SparkConf, SparkContext
from pyspark.errors import PySparkRuntimeError
from pyspark.java_gateway import launch_gateway

from engines.core.errors import InputError, StageError
from engines.core.scratch import PROCESSES, scratch_folder

_OLDEST_JAVA = 17
_OPEN_FILES = 400
_CONNECT_SECONDS = 15
_STOP_SECONDS = 20
_OTHER_LINES = re.compile(
    r"\s*$|\s+at |Picked up |WARNING: |NOTE: |Using Spark's |Setting default log level|To adjust |"
    r"Error occurred during initialization of VM$"
)
"""Lines of the JVM's log that tell of no error, or do not say which."""
_LOG_LINE = re.compile(r"(?:\d\d:\d\d:\d\d (?P<level>[A-Z]+) \S+: )?(?P<text>.*)")
"""A line as log4j2.properties lays it out; what else the JVM writes has no level."""
_KEPT_VARIABLES = ("SPARK_LOCAL_DIRS", "SPARK_USER")
"""Variables of Spark that a local driver keeps: where scratch files go, and the name of a user that has none."""
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


def check_user() -> None:
    """Raise InputError for a user that the system does not know, as in containers that run as any number.

    Spark's libraries ask Java for the name, and nothing else will do: Hadoop's UserGroupInformation, which logs in
    by UnixLoginModule.
    """
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        raise InputError(
            f"Spark needs a user with a name, and the system knows none of the number {os.getuid()}",
            f"Add it (echo 'fruits:x:{os.getuid()}:{os.getgid()}::/tmp:/bin/false' >> /etc/passwd), run as a user of "
            "the image, or use --engine dask.",
        ) from None


def check_open_files() -> None:
    """Raise InputError unless a process may have as many files open as a Spark driver has: its libraries are 300."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)  # Java raises its own limit up to this
    if most != resource.RLIM_INFINITY and most < _OPEN_FILES:
        raise InputError(
            f"Spark needs some {_OPEN_FILES} open files, and a process here may have {most} (ulimit -Hn)",
            "Raise it (ulimit -n 4096, or --ulimit nofile=4096 of the container), or use --engine dask.",
        )


def normalize_master(master: str, tries: int) -> str:
    """The master as Spark takes it, a local one with so many `tries` a task. Raises InputError for an unknown form."""
    local = re.fullmatch(r"local(?:\[(\*|[1-9][0-9]*)\])?", master)
    if local:
        return f"local[{local.group(1) or 1},{tries}]"
    if re.fullmatch(r"local\[(\*|[1-9][0-9]*),[1-9][0-9]*\]|spark://[^/:]+:\d+(,[^/:]+:\d+)*|yarn|k8s://.+", master):
        return master
    raise InputError(
        f"unknown Spark master {master!r}", "Give local[*], local[N], spark://HOST:PORT or yarn with --master."
    )


def check_master(master: str) -> None:
    """Raise InputError if nobody answers at the master's address. Spark itself would try for a minute."""
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


def driver_settings(
    master: str, scratch: str, *, tries: int, verbose: bool, overrides: Mapping[str, str]
) -> dict[str, str]:
    """The Spark settings of a driver that this engine starts, with its scratch folder. `overrides` win."""
    log = Path(__file__).with_name("log4j2.properties")
    settings = {
        "spark.app.name": "fruit-features",
        "spark.master": master,
        "spark.submit.deployMode": "client",
        # Up to 32 moments of 13 MB, and twice as many with speculation.
        "spark.driver.maxResultSize": "2g",
        "spark.driver.memory": "2g",
        "spark.driver.defaultJavaOptions": (
            f'"-Dlog4j2.configurationFile={log.as_uri()}" -Dfruits.log.level={"info" if verbose else "warn"} '
            # Java knows nothing of TMPDIR: it writes to /tmp, which may be small. There it also has a file with its
            # performance data, unless it is told not to.
            f'"-Djava.io.tmpdir={scratch}" -XX:-UsePerfData'
        ),
        "spark.task.maxFailures": str(tries),
        "spark.task.cpus": "1",
        "spark.python.worker.reuse": "true",
        "spark.python.worker.faulthandler.enabled": "true",
        "spark.ui.showConsoleProgress": "false",
        # A module in the folder where a worker happens to run must not be imported in place of the real one.
        "spark.executorEnv.PYTHONSAFEPATH": "1",
        # Each task has one thread, because there is a task for each core.
        "spark.executorEnv.OMP_NUM_THREADS": "1",
        "spark.executorEnv.OPENBLAS_NUM_THREADS": "1",
        "spark.executorEnv.MKL_NUM_THREADS": "1",
    }
    if _on_this_machine(master):
        # Nothing listens to other machines.
        settings |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
    if master.startswith("local"):
        settings["spark.ui.enabled"] = "false"
        # This JVM only hands out tasks, on cores that the network needs. Its optimizing compiler and the threads of its
        # garbage collector took 11 s of the 21 s of CPU of a short run.
        settings["spark.driver.defaultJavaOptions"] += " -XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
    if master == "yarn":
        # Python does the work, outside of the JVM's memory.
        settings |= {"spark.executor.memory": "1g", "spark.executor.memoryOverhead": "2g", "spark.executor.cores": "2"}
    return settings | dict(overrides)


def launch_variables(master: str, scratch: str, environ: Mapping[str, str]) -> dict[str, str | None]:
    """What changes in `environ` for the JVM of a driver that this engine starts; None for a variable that is left out.

    A local driver is the installed PySpark with this Python, whatever Spark's variables say about another one.
    """
    installed = str(Path(pyspark.__file__).parent)
    changes: dict[str, str | None] = {"SPARK_HOME": environ.get("SPARK_HOME") or installed, "TMPDIR": scratch}
    if _on_this_machine(master):
        changes["SPARK_LOCAL_IP"] = "127.0.0.1"  # else Spark looks up this machine's name, which may not resolve
    if master.startswith("local"):
        foreign = (name for name in environ if name.startswith(("SPARK_", "PYSPARK_")) and name not in _KEPT_VARIABLES)
        changes = dict.fromkeys(foreign) | changes | {"SPARK_HOME": installed}
    return changes


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


def _on_this_machine(master: str) -> bool:
    return re.match(r"local|spark://(localhost|127\.)", master) is not None


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
