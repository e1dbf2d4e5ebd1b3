"""A run that is cancelled or killed, that loses its worker or its server, or that meets another run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engines.core.output import read_record
from tests.e2e.prefect_kit import PrefectKit, flow_process, processes_of, wait_for
from tests.processes import command_of

pytestmark = pytest.mark.timeout(400)

SHARD_SIZE = 20

needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="there is no java")


def gone(run: str) -> None:
    """Wait until nothing that was started for the run is left."""
    wait_for(lambda: not processes_of(run), 30, f"processes are left: {processes_of(run)}")


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "output"


@pytest.fixture
def engine() -> str:
    """The engine of `run`."""
    return "dask"


@pytest.fixture
def run(prefect: PrefectKit, many_photos: Path, weights: str, output: Path, engine: str) -> str:
    """A run that is in the middle of featurizing, with one worker process."""
    return featurizing(prefect, start(prefect, many_photos, weights, output, engine), output)


def featurizing(prefect: PrefectKit, run: str, output: Path) -> str:
    """The run, once it is in the middle of featurizing."""
    features = output / "features"
    wait_for(
        lambda: (
            prefect.flow_run(run)["state_type"] == "RUNNING" and features.is_dir() and len(os.listdir(features)) > 3
        ),
        120,
        f"the run does not featurize: {prefect.log(run)}",
    )
    return run


def start(
    prefect: PrefectKit, photos: Path, weights: str, output: Path, engine: str = "dask", deployment: str = "laptop"
) -> str:
    return prefect.run(
        f"fruit-features/{deployment}",
        source=str(photos), output=str(output), engine=engine, emr=None, weights=weights, components=8,
        shard_size=SHARD_SIZE, workers=1,
    )  # fmt: skip


def cancel(prefect: PrefectKit, run: str) -> None:
    """As Prefect's page and `prefect flow-run cancel` do."""
    prefect.api(f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING", "name": "Cancelling"}})


@pytest.mark.parametrize(
    ("engine", "worker"),
    [("dask", "multiprocessing.forkserver"), pytest.param("spark", "pyspark.daemon", marks=needs_java)],
)
def test_a_cancelled_run_leaves_no_process_and_the_next_one_resumes(
    prefect: PrefectKit, run: str, many_photos: Path, weights: str, output: Path, engine: str, worker: str
) -> None:
    commands = [command_of(process) for process in processes_of(run)]
    assert any(worker in command for command in commands), commands
    cancel(prefect, run)
    gone(run)
    assert prefect.wait(run, 60)["state_type"] == "CANCELLED"
    assert not (output / "run.json").exists()
    done = len(os.listdir(output / "features"))

    found = prefect.wait(start(prefect, many_photos, weights, output, engine))
    assert found["state_type"] == "COMPLETED", found["state"]
    counts = read_record(str(output)).counts
    assert counts.projected == 600
    assert counts.reused >= done * SHARD_SIZE / 2
    assert read_record(str(output)).engine == engine
    assert f"{counts.reused:,} done by a former run" in found["state"]["message"]


def test_a_killed_run_leaves_no_process_and_is_reported_crashed(prefect: PrefectKit, run: str, output: Path) -> None:
    os.kill(flow_process(run), signal.SIGKILL)
    gone(run)
    assert prefect.wait(run, 60)["state_type"] == "CRASHED"
    assert not (output / "run.json").exists()


def test_a_run_outlives_its_worker(prefect: PrefectKit, run: str, output: Path) -> None:
    prefect.stop("worker", signal.SIGKILL)
    found = prefect.wait(run)
    assert found["state_type"] == "COMPLETED", found["state"]
    assert read_record(str(output)).counts.projected == 600
    gone(run)


def test_a_run_that_lost_its_worker_can_be_cancelled(
    prefect: PrefectKit, photos_for_a_minute: Path, weights: str, output: Path
) -> None:
    run = featurizing(prefect, start(prefect, photos_for_a_minute, weights, output), output)
    prefect.stop("worker", signal.SIGKILL)
    cancel(prefect, run)
    gone(run)
    found = prefect.wait(run, 10)
    assert found["state_type"] == "CANCELLED"
    assert found["state"]["message"].startswith("Cancelled; what was done is kept")
    assert not (output / "run.json").exists()
    assert not (output / ".lock").exists()


def test_a_run_that_is_cancelled_without_a_worker_when_all_is_done_does_not_stay_cancelling(
    prefect: PrefectKit, run: str, output: Path
) -> None:
    prefect.stop("worker", signal.SIGKILL)
    wait_for((output / "pca").is_dir, 120, "the run does not get to the PCA")
    cancel(prefect, run)
    found = prefect.wait(run)
    assert found["state_type"] == "CANCELLED"
    assert (output / "run.json").exists() == ("all was done by then" in found["state"]["message"])


def test_a_run_in_a_terminal_can_be_cancelled(
    prefect: PrefectKit, photos_for_a_minute: Path, weights: str, output: Path
) -> None:
    with subprocess.Popen(
        [
            str(Path(sys.executable).parent / "fruits"), "run", str(photos_for_a_minute), str(output),
            "--weights", weights, "--components", "8", "--shard-size", str(SHARD_SIZE), "--workers", "1",
        ],
        env=prefect.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as terminal:  # fmt: skip
        wait_for((output / "features").is_dir, 120, "the run does not featurize")
        recent = prefect.api("/flow_runs/filter", {"sort": "START_TIME_DESC", "limit": 5})
        run = next(found["id"] for found in recent if found["parameters"].get("output") == str(output))
        cancel(prefect, run)
        printed, errors = terminal.communicate(timeout=60)
    assert (terminal.returncode, printed) == (130, ""), errors
    assert "stopped; what was done is kept" in errors
    assert "Traceback" not in errors
    assert prefect.wait(run, 10)["state_type"] == "CANCELLED"


def test_a_run_outlives_a_restart_of_the_server(prefect: PrefectKit, run: str, output: Path) -> None:
    prefect.stop("server")
    assert processes_of(run)
    prefect.start_server()
    found = prefect.wait(run)
    assert found["state_type"] == "COMPLETED", found["state"]
    assert read_record(str(output)).counts.projected == 600
    wait_for(lambda: "summary" in prefect.artifacts(run), 30, "the summary is missing")


def test_two_runs_on_one_output_are_never_mixed(
    prefect: PrefectKit, run: str, many_photos: Path, weights: str, output: Path
) -> None:
    first = flow_process(run)
    # Stopped, so that it does not finish before the others have tried; the lease is held all the same.
    os.kill(first, signal.SIGSTOP)
    try:
        waiting = start(prefect, many_photos, weights, output)
        second = start(prefect, many_photos, weights, output, deployment="production")
        # The lease is on the output, not in Prefect: a run in a terminal meets it too.
        terminal = subprocess.run(
            [
                str(Path(sys.executable).parent / "fruits"), "run", str(many_photos), str(output),
                "--weights", weights, "--components", "8", "--shard-size", str(SHARD_SIZE), "--workers", "1",
            ],
            env=prefect.environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        found = prefect.wait(second)
        assert prefect.flow_run(waiting)["state"]["name"] == "AwaitingConcurrencySlot"
    finally:
        os.kill(first, signal.SIGCONT)
    refused = f"another run is writing into {output}: flow run photos on dask ("
    assert terminal.returncode == 2, terminal.stderr
    assert refused in terminal.stderr
    assert found["state_type"] == "FAILED"
    assert found["state"]["message"].startswith(refused)
    found = prefect.wait(run)
    assert found["state_type"] == "COMPLETED", found["state"]
    record = json.loads((output / "run.json").read_text())
    assert record["counts"]["projected"] == record["counts"]["listed"] == 600
    assert prefect.wait(waiting)["state"]["message"].startswith("Nothing to do")
    assert not (output / ".lock").exists()
