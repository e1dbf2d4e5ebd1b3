"""Clusters of separate processes on this machine, started and stopped by tests."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyspark

_START_SECONDS = 240


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def second_host() -> str:
    """Another address of this machine, where it has one: Spark speculates on another host only."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.2", 0))
        except OSError:
            return "127.0.0.1"
    return "127.0.0.2"


@contextlib.contextmanager
def spark_cluster(folder: Path, workers: int = 2) -> Iterator[str]:
    """A Spark master and up to two workers of one core each, every one a process. Yields spark://HOST:PORT."""
    spark = Path(pyspark.__file__).parent
    master = f"spark://127.0.0.1:{free_port()}"
    environment = {
        **os.environ,
        "SPARK_HOME": str(spark),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_WORKER_DIR": str(folder / "work"),
        "SPARK_LOCAL_DIRS": str(folder / "local"),
        "SPARK_DAEMON_MEMORY": "256m",
    }
    spark_class, deploy = str(spark / "bin" / "spark-class"), "org.apache.spark.deploy"
    with contextlib.ExitStack() as stack:
        log = folder / "master.log"
        port = master.rpartition(":")[2]
        command = [spark_class, f"{deploy}.master.Master", "--host", "127.0.0.1", "--port", port, "--webui-port", "0"]
        stack.enter_context(_process(command, log, environment))
        _wait(lambda: "I have been elected leader" in log.read_text(), log)
        for number, host in enumerate(("127.0.0.1", second_host())[:workers]):
            command = [spark_class, f"{deploy}.worker.Worker", "--host", host, "--webui-port", "0"]
            stack.enter_context(
                _process(
                    [*command, "--cores", "1", "--memory", "2g", master],
                    folder / f"worker-{number}.log",
                    {**environment, "SPARK_LOCAL_IP": host},
                )
            )
        _wait(lambda: log.read_text().count("Registering worker") == workers, log)
        yield master


@contextlib.contextmanager
def dask_cluster(folder: Path, workers: int = 2) -> Iterator[str]:
    """A Dask scheduler and workers of one thread each, every one a process. Yields tcp://HOST:PORT."""
    address = f"tcp://127.0.0.1:{free_port()}"
    with contextlib.ExitStack() as stack:
        log = folder / "scheduler.log"
        command = [sys.executable, "-m", "dask", "scheduler", "--host", "127.0.0.1", "--no-dashboard", "--port"]
        stack.enter_context(_process([*command, address.rpartition(":")[2]], log, dict(os.environ)))
        _wait(lambda: "Scheduler at" in log.read_text(), log)
        for number in range(workers):
            command = [sys.executable, "-m", "dask", "worker", address, "--nthreads", "1", "--no-dashboard"]
            stack.enter_context(
                _process(
                    [*command, "--local-directory", str(folder / f"worker-{number}")],
                    folder / f"worker-{number}.log",
                    dict(os.environ),
                )
            )
        _wait(lambda: log.read_text().count("Register worker") == workers, log)
        yield address


@contextlib.contextmanager
def _process(command: list[str], log: Path, environment: dict[str, str]) -> Iterator[None]:
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment)
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(ready: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the cluster did not start in {_START_SECONDS} s:\n{log.read_text()[-2000:]}")
        time.sleep(0.1)
