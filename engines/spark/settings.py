"""How a Spark driver that this engine starts is set up: Spark's settings, and the environment of its JVM."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path

import pyspark

_KEPT_VARIABLES = ("SPARK_LOCAL_DIRS", "SPARK_USER")
"""Variables of Spark that a local driver keeps: where scratch files go, and the name of a user that has none."""


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
        if _looks_up_its_name(os.environ):
            settings["spark.driver.defaultJavaOptions"] += f" {_known_name(scratch)}"
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


def _on_this_machine(master: str) -> bool:
    return re.match(r"local|spark://(localhost|127\.)", master) is not None


def _looks_up_its_name(environ: Mapping[str, str]) -> bool:
    """Whether the JVM would end because this machine's name does not resolve.

    With AWS keys in the environment Spark looks it up, to note where they were set
    (SparkHadoopUtil.appendS3CredentialsFromEnvironment).
    """
    if not {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} <= environ.keys():
        return False
    try:
        socket.getaddrinfo(socket.gethostname(), None)
    except OSError:
        return True
    return False


def _known_name(scratch: str) -> str:
    """The Java option by which this machine's name is known to a JVM, which then knows no other."""
    hosts = Path(scratch, "hosts")
    hosts.write_text(f"127.0.0.1 localhost {socket.gethostname()}\n")
    return f'"-Djdk.net.hosts.file={hosts}"'
