"""A run that is cancelled or killed, that loses its worker or its server, or that meets another run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engines.core.run_record import read_record
from tests.e2e.prefect_kit import PrefectKit, flow_process, processes_of, wait_for

pytestmark = pytest.mark.timeout(400)

SHARD_SIZE = 20


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "output"


@pytest.fixture
def run(prefect: PrefectKit, many_photos: Path, weights: str, output: Path) -> str:
    """A run that is in the middle of featurizing, with one worker process."""
    run = start(prefect, many_photos, weights, output)
    features = output / "features"
    wait_for(
        lambda: (
            prefect.flow_run(run)["state_type"] == "RUNNING" and features.is_dir() and len(os.listdir(features)) > 3
        ),
        120,
        f"the run does not featurize: {prefect.log(run)}",
    )
    return run


def start(prefect: PrefectKit, photos: Path, weights: str, output: Path) -> str:
    return prefect.run(
        "fruit-features/laptop",
        source=str(photos), output=str(output), weights=weights, components=8, shard_size=SHARD_SIZE, workers=1,
    )  # fmt: skip


def test_a_cancelled_run_leaves_no_process_and_the_next_one_resumes(
    prefect: PrefectKit, run: str, many_photos: Path, weights: str, output: Path
) -> None:
    assert processes_of(run)
    prefect.api(f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING", "name": "Cancelling"}})
    asked = time.monotonic()
    wait_for(lambda: not processes_of(run), 30, f"processes are left: {processes_of(run)}")
    assert prefect.wait(run, 60)["state_type"] == "CANCELLED"
    assert time.monotonic() - asked < 60
    assert not (output / "run.json").exists()
    done = len(os.listdir(output / "features"))

    found = prefect.wait(start(prefect, many_photos, weights, output))
    assert found["state_type"] == "COMPLETED", found["state"]
    counts = read_record(str(output))["counts"]
    assert counts["projected"] == 600
    assert counts["reused"] >= done * SHARD_SIZE / 2
    assert f"{counts['reused']:,} done by a former run" in found["state"]["message"]


def test_a_killed_run_leaves_no_process_and_is_reported_crashed(prefect: PrefectKit, run: str, output: Path) -> None:
    os.kill(flow_process(run), signal.SIGKILL)
    wait_for(lambda: not processes_of(run), 30, f"processes are left: {processes_of(run)}")
    assert prefect.wait(run, 60)["state_type"] == "CRASHED"
    assert not (output / "run.json").exists()


def test_a_run_outlives_its_worker(prefect: PrefectKit, run: str, output: Path) -> None:
    prefect.stop("worker", signal.SIGKILL)
    found = prefect.wait(run)
    assert found["state_type"] == "COMPLETED", found["state"]
    assert read_record(str(output))["counts"]["projected"] == 600
    wait_for(lambda: not processes_of(run), 30, f"processes are left: {processes_of(run)}")


def test_a_run_outlives_a_restart_of_the_server(prefect: PrefectKit, run: str, output: Path) -> None:
    prefect.stop("server")
    assert processes_of(run)
    prefect.start_server()
    found = prefect.wait(run)
    assert found["state_type"] == "COMPLETED", found["state"]
    assert read_record(str(output))["counts"]["projected"] == 600
    wait_for(lambda: "summary" in prefect.artifacts(run), 30, "the summary is missing")


def test_two_runs_on_one_output_are_never_mixed(
    prefect: PrefectKit, run: str, many_photos: Path, weights: str, output: Path
) -> None:
    first = flow_process(run)
    # Stopped, so that it does not finish before the others have tried; the lease is held all the same.
    os.kill(first, signal.SIGSTOP)
    try:
        second = start(prefect, many_photos, weights, output)
        # The lease is on the output, not in Prefect: a run in a terminal meets it too.
        terminal = subprocess.run(
            [
                str(Path(sys.executable).parent / "fruits"), "run", str(many_photos), str(output),
                "--weights", weights, "--components", "8", "--shard-size", str(SHARD_SIZE), "--workers", "1",
            ],
            env=prefect.environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        found = prefect.wait(second)
    finally:
        os.kill(first, signal.SIGCONT)
    refused = f"another run is writing into {output}: flow run photos · dask ("
    assert terminal.returncode == 2, terminal.stderr
    assert refused in terminal.stderr
    assert found["state_type"] == "FAILED"
    assert found["state"]["message"].startswith(refused)
    found = prefect.wait(run)
    assert found["state_type"] == "COMPLETED", found["state"]
    record = json.loads((output / "run.json").read_text())
    assert record["counts"]["projected"] == record["counts"]["listed"] == 600
    assert not (output / ".lock").exists()
