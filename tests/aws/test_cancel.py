"""However a run ends, no job outlives it: signals, a killed process, a crashed flow, a person."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from engines.core.errors import TransientError
from flows.cli import app
from tests.aws import spark_jobs
from tests.aws.conftest import PHOTOS, Setup
from tests.aws.stand_in import StandIn

pytestmark = pytest.mark.timeout(240)

FEATURIZE = """
import json, sys
from engines import create_engine
from engines.base import FeaturizeRequest
run, request = sys.argv[1], FeaturizeRequest(**json.loads(sys.argv[2]))
from engines.emr.settings import load_settings
from dataclasses import asdict
with create_engine("emr-serverless", emr=asdict(load_settings()), run=run) as engine:
    engine._check(request.source, request.output)
    print(engine.featurize(request).featurized)
"""


def wait_for(what: Callable[[], bool], seconds: float = 150.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def hanging_in(stage: str, stand_in: StandIn) -> Callable[[], bool]:
    """Index as always, but let `stage` hang; tells whether it does."""

    def work(arguments: list[str]):
        return spark_jobs.hang(arguments) if f'"stage": "{stage}"' in arguments[0] else spark_jobs.serial(arguments)

    stand_in.serverless.work = work

    def hangs() -> bool:
        stand_in.running()
        runs = stand_in.serverless.runs.values()
        return any(run.state == "RUNNING" and f"/{stage}/" in run.request["name"] for run in runs)

    return hangs


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "terminated"])
def test_a_run_stopped_during_featurize_cancels_its_job_once(
    emr_environment: Setup, stand_in: StandIn, weights: str, tmp_path: Path, number: signal.Signals
):
    setup = emr_environment
    hangs = hanging_in("featurize", stand_in)
    command = [sys.executable, "-m", "flows.cli", "run", setup.source, setup.output, "--engine", "emr-serverless"]
    environment = {**os.environ, "PREFECT_HOME": str(tmp_path / "prefect")}
    log = (tmp_path / "log").open("wb")
    options = ["--components", "8", "--shard-size", "6", "--weights", weights]
    with log, subprocess.Popen([*command, *options], env=environment, stdout=log, stderr=log) as process:
        wait_for(lambda: hangs() or process.poll() is not None)
        process.send_signal(number)
        assert process.wait(90) != 0, (tmp_path / "log").read_text()
    assert stand_in.count("StartJobRun") == 2, (tmp_path / "log").read_text()
    assert stand_in.settle() == []
    assert stand_in.count("CancelJobRun") == 1


@pytest.mark.parametrize("second_run", ["run-1", "run-2"], ids=["as the same run", "as another run"])
def test_a_killed_process_that_is_started_again_leaves_one_job_at_most(
    emr_environment: Setup, stand_in: StandIn, second_run: str
):
    """The same run attaches to its job; another one cancels what it finds, once, and does the work itself."""
    import json
    from dataclasses import asdict

    setup = emr_environment
    request = json.dumps(asdict(setup.featurize_request(setup.indexed())))
    hangs = hanging_in("featurize", stand_in)
    command = [sys.executable, "-c", FEATURIZE]
    with subprocess.Popen([*command, "run-1", request]) as process:
        wait_for(hangs)
        process.kill()
    assert len(stand_in.running()) == 1
    if second_run == "run-1":
        with subprocess.Popen([*command, "run-1", request]) as process:
            polls = stand_in.count("GetJobRun")
            wait_for(lambda: stand_in.count("GetJobRun") > polls)
            process.send_signal(signal.SIGINT)
        assert len(stand_in.serverless.runs) == 1
    else:
        stand_in.serverless.work = spark_jobs.serial
        done = subprocess.run([*command, "run-2", request], capture_output=True, text=True, check=False)
        assert done.stdout.strip() == str(PHOTOS), done.stderr
    assert stand_in.settle() == []
    assert stand_in.count("CancelJobRun") == 1


def orphan(setup: Setup, stand_in: StandIn, run: str) -> threading.Thread:
    """A job of `run` that hangs, as of a process that is gone; the thread ends when somebody cancels it."""
    hangs = hanging_in("index", stand_in)

    def dead() -> None:
        engine = setup.engine(run=run)
        with pytest.raises(TransientError, match="cancelled"):
            engine.index(setup.index_request())

    thread = threading.Thread(target=dead, daemon=True)
    thread.start()
    wait_for(hangs)
    return thread


@pytest.mark.parametrize("hooks", ["on_cancellation_hooks", "on_crashed_hooks"])
def test_prefect_s_hooks_stop_the_jobs_of_a_run_by_its_id_once(emr_environment: Setup, stand_in: StandIn, hooks: str):
    """As Prefect calls them in another process, and again in the one that crashed."""
    from prefect.client.schemas.objects import FlowRun
    from prefect.settings import PREFECT_LOGGING_TO_API_ENABLED, temporary_settings
    from prefect.states import Crashed

    from flows.fruit_features import fruit_features

    run = FlowRun(id=uuid4(), flow_id=uuid4(), name="dead", parameters={"engine": "emr-serverless", "emr": None})
    thread = orphan(emr_environment, stand_in, str(run.id))
    with temporary_settings({PREFECT_LOGGING_TO_API_ENABLED: False}):  # no server knows this run
        for _ in range(2):
            for hook in getattr(fruit_features, hooks):
                hook(fruit_features, run, Crashed())
    thread.join(20)
    assert stand_in.settle() == []
    assert stand_in.count("CancelJobRun") == 1


def fruits(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["emr", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_person_sees_and_stops_a_run(emr_environment: Setup, stand_in: StandIn):
    thread = orphan(emr_environment, stand_in, "lost")
    assert "RUNNING" in fruits("status")
    shown = fruits("status", "lost")
    assert "index" in shown
    assert "authToken" in shown  # the link lets in whoever has it: shown to who asked, and written nowhere
    assert "stopped 0000000000000000" in fruits("stop", "lost")
    thread.join(20)
    assert "nothing was running" in fruits("stop", "lost")
    assert stand_in.settle() == []
    assert stand_in.count("CancelJobRun") == 1
    assert "killed" in fruits("logs", "lost")
    cost = fruits("cost", "lost")
    assert "vcpu_hours" in cost
    assert "cost_usd" in cost
