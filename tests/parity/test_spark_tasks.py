"""What becomes of tasks that fail, and of a Spark session that was there before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark import SparkContext, TaskContext, cloudpickle

from engines.core.errors import InputError, StageError, StorageError, TransientError
from engines.spark.engine import SparkEngine
from engines.spark.settings import driver_settings
from tests.ports import listening_addresses

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import tests


@pytest.fixture(scope="module")
def engine() -> Iterator[SparkEngine]:
    with SparkEngine(scheduler="local[2]") as engine:
        yield engine


def work(engine: SparkEngine, function, items=(0, 1, 2, 3)) -> dict[int, object]:
    return dict(engine.map(function, list(items), engine.broadcast("value")))


def assert_nothing_starts(traces: Path, of: int) -> None:
    """Two workers with a task in hand each may still leave its trace when Spark calls them cancelled; no other task."""
    ended = len(list(traces.iterdir()))
    time.sleep(2)
    assert len(list(traces.iterdir())) <= ended + 2 < of / 2


def test_outcomes_come_while_the_job_runs(engine: SparkEngine) -> None:
    def slow_at_the_end(item, _):
        time.sleep(item)
        return time.time()

    arrived = [(time.time(), ended) for _, ended in engine.map(slow_at_the_end, [0, 0, 0, 3], engine.broadcast(None))]
    last_ended = arrived[3][1]
    assert [time < last_ended - 1 for time, _ in arrived] == [True, True, True, False]


def test_workers_are_kept_and_read_a_broadcast_once(engine: SparkEngine) -> None:
    def identity_of(item, value):
        time.sleep(0.05)
        return os.getpid(), id(value)

    value = engine.broadcast(["large"])
    seen = set(dict(engine.map(identity_of, list(range(12)), value)).values())
    assert len(seen) <= 2
    assert {pid for pid, _ in seen} == {pid for pid, _ in dict(engine.map(identity_of, [0] * 12, value)).values()}


def test_tasks_have_one_thread_for_blas(engine: SparkEngine) -> None:
    assert work(engine, lambda _item, _: os.environ["OMP_NUM_THREADS"], [0]) == {0: "1"}


@pytest.mark.parametrize("kind", [StorageError, InputError])
def test_an_error_of_ours_comes_back_as_it_is_and_is_not_tried_again(
    kind: type, engine: SparkEngine, tmp_path: Path
) -> None:
    def fails(item, _):
        if item == 2:
            (tmp_path / f"attempt-{time.time_ns()}").touch()
            raise kind("it is gone", "Put it back.")
        return item

    with pytest.raises(kind) as caught:
        work(engine, fails)
    assert (caught.value.message, caught.value.hint) == ("it is gone", "Put it back.")
    assert len(list(tmp_path.iterdir())) == 1


def test_an_error_that_heals_is_tried_again(engine: SparkEngine) -> None:
    def heals(item, _):
        if item == 1 and TaskContext.get().attemptNumber() < 2:
            raise TransientError("throttled")
        return item * 2

    assert work(engine, heals) == {0: 0, 1: 2, 2: 4, 3: 6}


def test_an_error_that_never_heals_comes_back_as_it_is(engine: SparkEngine, tmp_path: Path) -> None:
    def never_heals(item, _):
        if item == 1:
            (tmp_path / f"attempt-{time.time_ns()}").touch()
            raise TransientError("throttled", "Wait.")
        return item

    with pytest.raises(TransientError) as caught:
        work(engine, never_heals)
    assert (caught.value.message, caught.value.hint) == ("throttled", "Wait.")
    assert len(list(tmp_path.iterdir())) == 3


def test_any_other_error_is_a_stage_error_with_cause_and_shard(engine: SparkEngine) -> None:
    class Task:
        shard = "5eed"

    def fails(_item, _):
        return {}["absent"]

    with pytest.raises(StageError) as caught:
        work(engine, fails, [Task()])
    assert caught.value.message == "shard 5eed: KeyError: 'absent'"
    assert "java" not in str(caught.value).lower()
    assert "in fails" in "".join(caught.value.__notes__)


def test_a_worker_that_dies_once_is_replaced(engine: SparkEngine) -> None:
    def dies_once(item, _):
        if item == 1 and TaskContext.get().attemptNumber() == 0:
            os._exit(1)
        return item

    assert work(engine, dies_once) == {0: 0, 1: 1, 2: 2, 3: 3}


@pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGSEGV])
def test_workers_that_die_again_and_again_are_given_up(engine: SparkEngine, death: signal.Signals) -> None:
    def dies(item, _):
        if item == 3:
            os.kill(os.getpid(), death)
            time.sleep(10)
        return item

    with pytest.raises(StageError, match="3 workers died while they worked on it") as caught:
        work(engine, dies)
    assert ("Segmentation fault" in caught.value.message) == (death == signal.SIGSEGV)
    assert ("memory" in caught.value.hint) == (death == signal.SIGKILL)
    assert work(engine, lambda item, _: item, [7]) == {0: 7}


def test_a_module_missing_on_the_workers_is_named(engine: SparkEngine) -> None:
    def needs_a_module(_item, _):
        import no_such_module  # type: ignore[import-not-found]  # noqa: F401

    with pytest.raises(StageError, match="ModuleNotFoundError: No module named 'no_such_module'") as caught:
        work(engine, needs_a_module)
    assert "fruit-features[worker]" in caught.value.hint


def test_leaving_the_loop_cancels_the_rest(engine: SparkEngine, tmp_path: Path) -> None:
    def leaves_a_trace(item, _):
        (tmp_path / str(item)).touch()
        time.sleep(0.5)
        return item

    outcomes = engine.map(leaves_a_trace, list(range(40)), engine.broadcast(None))
    next(outcomes)
    outcomes.close()  # type: ignore[attr-defined]
    assert_nothing_starts(tmp_path, of=40)


def test_an_interrupt_cancels_the_job(engine: SparkEngine, tmp_path: Path) -> None:
    def leaves_a_trace(item, _):
        (tmp_path / str(item)).touch()
        time.sleep(0.5)

    def interrupt_once_it_runs() -> None:
        while not any(tmp_path.iterdir()):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt_once_it_runs)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        work(engine, leaves_a_trace, range(100))
    thread.join()
    assert_nothing_starts(tmp_path, of=100)


def test_every_port_is_on_loopback_and_no_secret_is_in_the_settings(
    engine: SparkEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    work(engine, lambda item, _: item)
    assert listening_addresses() == {"127.0.0.1"}
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush-hush")
    settings = [
        *SparkContext.getOrCreate().getConf().getAll(),
        *driver_settings("yarn", "/scratch", tries=3, verbose=False, overrides={}).items(),
    ]
    assert not [name for name, value in settings if "AWS" in name or "hush-hush" in value]


def test_settings_are_visible(engine: SparkEngine) -> None:
    facts = engine.describe()
    assert facts["scheduler"] == "local[2,3]"
    assert facts["task_max_failures"] == 3
    assert facts["spark"] == SparkContext.getOrCreate().version


def test_an_existing_session_is_used_and_left_alone(engine: SparkEngine) -> None:
    with SparkEngine() as second:
        assert work(second, lambda item, value: (item, value), [5]) == {0: (5, "value")}
        assert second.describe()["scheduler"] == "local[2,3]"
    assert work(engine, lambda item, _: item, [6]) == {0: 6}
    with (
        SparkEngine(scheduler="local[7]") as third,
        pytest.raises(InputError, match=r"session on local\[2,3\] already"),
    ):
        third.broadcast(None)


@pytest.mark.long
def test_wherever_the_jvm_dies_it_is_said_in_one_line_and_the_next_attempt_starts_anew() -> None:
    code = """
import time
from engines.core.errors import TransientError
from engines.spark.engine import SparkEngine

def kill():
    engine._driver._gateway.proc.kill()
    engine._driver._gateway.proc.wait()

def say(attempt):
    try:
        attempt()
    except TransientError as error:
        print(error.message)

with SparkEngine(workers=1) as engine, SparkEngine() as second:
    value = engine.broadcast(None)
    second.broadcast(None)
    kill()
    say(lambda: second.parallelism)
    say(lambda: second.broadcast(None))
    say(lambda: list(second.map(lambda item, _: item, [1], value)))
    say(lambda: list(engine.map(lambda item, _: item, [1], value)))
    outcomes = engine.map(lambda item, _: time.sleep(0.2), list(range(100)), engine.broadcast(None))
    print(next(outcomes))
    kill()
    say(lambda: list(outcomes))
    print(engine.lost)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200, check=False)
    lost = "the connection to the workers was lost (Spark's JVM is gone)"
    assert done.stdout.splitlines() == [lost, lost, lost, lost, "(0, None)", lost, "True"], done.stderr
    assert (done.stderr, done.returncode) == ("", 0)


def test_spark_is_quiet() -> None:
    code = """
from engines.spark.engine import SparkEngine

with SparkEngine(workers=1) as engine:
    print(list(engine.map(lambda item, _: item, [1], engine.broadcast(None))))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("[(0, 1)]\n", "", 0)


def test_under_spark_submit_its_session_is_used(tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text(
        "from engines.spark.engine import SparkEngine\n"
        "with SparkEngine() as engine:\n"
        "    print(list(engine.map(lambda item, _: item, [1], engine.broadcast(None))))\n"
        "    print(engine.describe()['scheduler'])\n"
    )
    submit = [str(Path(sys.executable).with_name("spark-submit")), "--master", "local[1]", str(script)]
    environment = {**os.environ, "PYSPARK_PYTHON": sys.executable}
    done = subprocess.run(submit, capture_output=True, text=True, timeout=200, check=False, env=environment)
    assert done.stdout == "[(0, 1)]\nlocal[1]\n", done.stderr


FIRST_RUN = """
import os, sys
from engines.spark.engine import SparkEngine

with SparkEngine(workers=1) as engine:
    print(list(engine.map(lambda item, _: (item, sys.executable), [1], engine.broadcast(None))))
    if "LOOK" in os.environ:
        print([name for _, names, _ in os.walk(os.environ["TMPDIR"]) for name in names])
"""
RESULT = f"[(0, (1, {sys.executable!r}))]\n"


def first_run(environ: dict[str, str], folder: Path, *wrapper: str) -> str:
    """Standard output of a process that runs one task, which must succeed; `-P` as `fruits` has no `-c` either."""
    command = [*wrapper, sys.executable, "-P", "-c", FIRST_RUN]
    environ = {**os.environ, **environ}
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False, env=environ, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_another_spark_s_variables_do_not_steer_a_local_driver(tmp_path: Path) -> None:
    environ = {
        "SPARK_HOME": "/opt/no-such-spark",
        "SPARK_CONF_DIR": str(tmp_path),
        "PYSPARK_PYTHON": "/bin/false",
        "PYSPARK_DRIVER_PYTHON": "/bin/false",
        "PYSPARK_SUBMIT_ARGS": "--conf spark.executorEnv.PYTHONHOME=/nowhere --jars /nowhere.jar pyspark-shell",
    }
    (tmp_path / "spark-defaults.conf").write_text("spark.python.daemon.module no_such_module\n")
    assert first_run(environ, tmp_path).startswith(RESULT)


def test_modules_in_the_current_folder_are_not_imported_by_workers(tmp_path: Path) -> None:
    for name in ("engines", "numpy", "pyspark", "random"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the module of the current folder')\n")
    assert first_run({}, tmp_path).startswith(RESULT)


def test_scratch_files_go_to_tmpdir(tmp_path: Path) -> None:
    scratch = tmp_path / "a scratch"
    scratch.mkdir()
    found = first_run({"TMPDIR": str(scratch), "LOOK": "yes"}, tmp_path)
    assert "fruits-scratch-" in found
    assert "blockmgr" in found
    assert list(scratch.iterdir()) == []


@pytest.mark.long
def test_what_a_killed_driver_and_its_jvm_left_is_removed_by_the_next_one(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    code = """
import os, signal
from engines.spark.engine import SparkEngine

engine = SparkEngine(workers=1)
list(engine.map(lambda item, _: item, [1], engine.broadcast(None)))
engine._driver._gateway.proc.kill()
os.kill(os.getpid(), signal.SIGKILL)
"""
    environ = {**os.environ, "TMPDIR": str(scratch)}
    subprocess.run([sys.executable, "-P", "-c", code], timeout=200, check=False, env=environ, cwd=tmp_path)
    assert [path.name.startswith("fruits-scratch-") for path in scratch.iterdir()] == [True]
    first_run({"TMPDIR": str(scratch)}, tmp_path)
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("environ", [{}, {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}])
def test_a_host_name_that_does_not_resolve_does_not_matter(environ: dict[str, str], tmp_path: Path) -> None:
    rename = ["unshare", "--uts", "sh", "-c", 'hostname no-such-host.invalid && exec "$@"', "sh"]
    if subprocess.run([*rename, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("unshare --uts and hostname are needed, and the right to use them")
    assert first_run(environ, tmp_path, *rename).startswith(RESULT)


def test_a_start_that_fails_names_its_cause() -> None:
    code = """
from engines.core.errors import StageError
from engines.spark.engine import SparkEngine

for settings in (
    {"spark.driver.memory": "1k"},
    {"spark.driver.bindAddress": "203.0.113.1", "spark.port.maxRetries": "2"},
    {},
):
    with SparkEngine(workers=1, settings=settings) as engine:
        try:
            print(list(engine.map(lambda item, _: item, [1], engine.broadcast(None))))
        except StageError as error:
            print(error.message)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200, check=False)
    lines = done.stdout.splitlines()
    assert lines[0] == "Spark does not start: Too small maximum heap", done.stderr
    # Since 4.1 Spark's transport says more in between.
    assert lines[1].startswith("Spark does not start: java.net.BindException: ")
    assert "Cannot assign requested address" in lines[1]
    assert lines[2:] == ["[(0, 1)]"]
