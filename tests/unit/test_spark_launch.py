"""What has to be there before Spark is started, and what is said when it is not."""

from __future__ import annotations

from pathlib import Path

import pyspark
import pytest

from engines.core.errors import InputError
from engines.patience import Patience
from engines.spark.checks import check_java, check_master, normalize_master
from engines.spark.engine import SparkEngine
from engines.spark.launch import first_error
from engines.spark.settings import driver_settings, launch_variables
from tests.parity.processes import free_port


def java_home(folder: Path, version: str, code: int = 0) -> str:
    """A made-up Java that says its version as Java does: on standard error."""
    java = folder / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\necho '{version}' >&2\nexit {code}\n")
    java.chmod(0o755)
    return str(folder)


@pytest.mark.parametrize("version", ['openjdk version "17.0.15" 2025-04-15', 'java version "21" 2023-09-19 LTS'])
def test_java_from_17_will_do(version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", java_home(tmp_path / "java", version))
    check_java()


@pytest.mark.parametrize(
    ("version", "number"), [('java version "1.8.0_402"', "8"), ('openjdk version "11.0.22" 2024-01-16', "11")]
)
def test_too_old_java_names_what_to_install(
    version: str, number: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAVA_HOME", java_home(tmp_path / "java", version))
    with pytest.raises(InputError, match=f"Java 17 or newer, and .*bin/java is {number}") as caught:
        check_java()
    assert "Install Java 17" in caught.value.hint


def test_java_that_fails_names_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", java_home(tmp_path / "java", "Unable to locate a Java Runtime.", code=1))
    with pytest.raises(InputError, match="-version` fails") as caught:
        check_java()
    assert "Install Java 17" in caught.value.hint


@pytest.mark.parametrize("variable", ["JAVA_HOME", "PATH"])
def test_missing_java_is_said_before_anything_starts(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    with pytest.raises(InputError, match="Spark needs Java 17 and found none") as caught:
        SparkEngine()
    assert "Install Java 17" in caught.value.hint
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("local", "local[1,3]"),
        ("local[2]", "local[2,3]"),
        ("local[*]", "local[*,3]"),
        ("local[3,1]", "local[3,1]"),
        ("spark://host:7077", "spark://host:7077"),
        ("spark://one:7077,two:7077", "spark://one:7077,two:7077"),
        ("yarn", "yarn"),
    ],
)
def test_masters(given: str, used: str) -> None:
    assert normalize_master(given, 3) == used


@pytest.mark.parametrize("given", ["", "local[0]", "local[x]", "spark://host", "host:7077", "tcp://host:8786", "YARN"])
def test_unknown_masters_are_refused(given: str) -> None:
    with pytest.raises(InputError, match="unknown Spark master") as caught:
        SparkEngine(scheduler=given)
    assert "spark://HOST:PORT" in caught.value.hint


def test_master_that_does_not_answer_is_named_at_once() -> None:
    port = free_port()
    with pytest.raises(InputError, match=f"no Spark master answers at spark://127.0.0.1:{port} .*refused"):
        SparkEngine(scheduler=f"spark://127.0.0.1:{port}")


def test_yarn_without_configuration_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HADOOP_CONF_DIR", "YARN_CONF_DIR"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match="yarn needs") as caught:
        check_master("yarn")
    assert "HADOOP_CONF_DIR" in caught.value.hint


def test_workers_and_a_master_exclude_each_other() -> None:
    with pytest.raises(InputError, match="a given master has its own workers"):
        SparkEngine(workers=2, scheduler="local[2]")
    with pytest.raises(InputError, match="0 workers"):
        SparkEngine(workers=0)


@pytest.mark.parametrize("master", ["local[2,3]", "spark://host:7077", "yarn"])
def test_tasks_are_single_threads_on_every_master(master: str) -> None:
    settings = driver_settings(master, "/scratch", tries=3, verbose=False, overrides={"spark.task.maxFailures": "2"})
    assert settings["spark.executorEnv.OMP_NUM_THREADS"] == "1"
    assert settings["spark.executorEnv.OPENBLAS_NUM_THREADS"] == "1"
    assert settings["spark.executorEnv.PYTHONSAFEPATH"] == "1"
    assert settings["spark.python.worker.reuse"] == "true"
    assert settings["spark.task.maxFailures"] == "2"
    assert ("spark.ui.enabled" in settings) == master.startswith("local")


def test_nothing_starts_before_there_is_work() -> None:
    engine = SparkEngine(workers=3)
    assert engine.describe() == {"scheduler": "local[3,3]"}
    engine.close()


@pytest.mark.parametrize("master", ["spark://host:7077", "yarn"])
def test_tries_are_those_that_were_asked_for(master: str) -> None:
    assert driver_settings(master, "/scratch", tries=5, verbose=False, overrides={})["spark.task.maxFailures"] == "5"
    with SparkEngine(workers=3, patience=Patience(tries=5)) as engine:
        assert engine.describe() == {"scheduler": "local[3,5]"}


@pytest.mark.parametrize("master", ["local[2,3]", "spark://host:7077", "yarn"])
def test_what_a_driver_puts_on_disk_is_in_its_scratch_folder(master: str) -> None:
    settings = driver_settings(master, "/a scratch", tries=3, verbose=False, overrides={})
    assert '"-Djava.io.tmpdir=/a scratch"' in settings["spark.driver.defaultJavaOptions"]
    assert "spark.local.dir" not in settings, "it would be that of the executors, too"


FOREIGN = {
    "PATH": "/bin",
    "SPARK_HOME": "/opt/other-spark",
    "SPARK_CONF_DIR": "/opt/other-spark/conf",
    "SPARK_LOCAL_DIRS": "/scratch",
    "PYSPARK_PYTHON": "/usr/bin/python3",
    "PYSPARK_SUBMIT_ARGS": "--master yarn pyspark-shell",
}


def test_a_local_driver_is_the_installed_pyspark_whatever_the_variables_say() -> None:
    assert launch_variables("local[2,3]", "/scratch", FOREIGN) == {
        "TMPDIR": "/scratch",
        "SPARK_HOME": str(Path(pyspark.__file__).parent),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_CONF_DIR": None,
        "PYSPARK_PYTHON": None,
        "PYSPARK_SUBMIT_ARGS": None,
    }


def test_a_driver_of_a_cluster_takes_the_variables_as_they_are() -> None:
    assert launch_variables("spark://host:7077", "/scratch", FOREIGN) == {
        "TMPDIR": "/scratch",
        "SPARK_HOME": "/opt/other-spark",
    }
    assert launch_variables("yarn", "/scratch", {}) == {
        "TMPDIR": "/scratch",
        "SPARK_HOME": str(Path(pyspark.__file__).parent),
    }


@pytest.mark.parametrize(
    ("log", "error"),
    [
        (
            "Picked up JAVA_TOOL_OPTIONS: -Xmx1g\nUnrecognized VM option 'Nonsense'\n"
            "Error: Could not create the Java Virtual Machine.\nError: A fatal exception has occurred.\n",
            "Unrecognized VM option 'Nonsense'",
        ),
        (
            "10:01:02 WARN Utils: Your hostname resolves to a loopback address\n"
            "10:01:03 ERROR DiskBlockManager: Failed to create local dir in /full. Ignoring this directory.\n"
            "java.io.IOException: No space left on device\n\tat java.base/java.io.File.create(File.java:1)\n"
            "10:01:04 INFO ShutdownHookManager: Deleting directory\n",
            "Failed to create local dir in /full. Ignoring this directory.",
        ),
        (
            'Exception in thread "main" java.lang.IllegalArgumentException: no such class\n\tat a.b.C.d(C.java:1)\n',
            'Exception in thread "main" java.lang.IllegalArgumentException: no such class',
        ),
        ("10:01:02 WARN Utils: a warning\n\n", ""),
    ],
)
def test_the_cause_is_the_first_line_that_tells_of_an_error(log: str, error: str) -> None:
    assert first_error(log) == error
