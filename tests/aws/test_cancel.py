"""However a run ends, no job outlives it: signals, a killed process, a crashed flow, a person."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from engines.core.errors import StageError
from flows.cli import app
from tests.aws import spark_jobs
from tests.aws.conftest import PHOTOS, Setup, objects, whole_run
from tests.aws.jobs import CANCEL, START, both
from tests.aws.stand_in import StandIn

pytestmark = pytest.mark.timeout(240)

FEATURIZE = """
import json, sys
from engines import create_engine
from engines.base import FeaturizeRequest
name, request = sys.argv[1], FeaturizeRequest(**json.loads(sys.argv[2]))
from engines.emr.settings import load_settings
from dataclasses import asdict
with create_engine(name, settings=asdict(load_settings()), run="run-1") as engine:
    engine._check(request.source, request.output)
    print(engine.featurize(request).featurized)
"""


# A lease on S3 is lost when its holder gave no sign of life for a minute; here for three seconds.
FRUITS = """
import sys
from engines.core.storage import lease
lease.LIFE_SECONDS, lease.RENEW_SECONDS, lease._POLL_SECONDS = 3.0, 0.5, 0.5
from flows.cli import main
sys.argv[0] = "fruits"
main()
"""

POLL = {"emr-serverless": "GetJobRun", "emr-cluster": "DescribeStep"}


def wait_for(what: Callable[[], bool], seconds: float = 150.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def hanging_in(stage: str, stand_in: StandIn) -> Callable[[], bool]:
    """Do as always, but let `stage` hang; tells whether it does."""

    reached = threading.Event()

    def hang(work: spark_jobs.Work) -> None:
        reached.set()
        work.cancelled.wait()

    stand_in.serverless.work = stand_in.clusters.work = spark_jobs.before(stage, hang)
    return reached.is_set


def jobs(stand_in: StandIn) -> list[tuple[str, str]]:
    """Name and state of every job."""
    stand_in.running()
    found = [(run.request["name"], run.state) for run in stand_in.serverless.runs.values()]
    for cluster in stand_in.clusters.clusters.values():
        found += [(step.request["Name"], step.state) for step in cluster.steps]
    return found


@dataclass
class FruitsRun:
    """`fruits run` on an engine, in a process of its own."""

    setup: Setup
    name: str
    weights: str
    folder: Path
    prefect: Path

    def start(self, log: str) -> subprocess.Popen[bytes]:
        """Started; what it says goes to the file `log`. It leads a process group, for Prefect's server to be in."""
        options = ["--engine", self.name, "--components", "8", "--shard-size", "6", "--weights", self.weights]
        environment = {**os.environ, "PREFECT_HOME": str(self.prefect)}
        with (self.folder / log).open("wb") as file:
            return subprocess.Popen(
                [sys.executable, "-c", FRUITS, "run", self.setup.source, self.setup.output, *options],
                env=environment,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    def said(self, log: str) -> str:
        return (self.folder / log).read_text()


@pytest.fixture(scope="module")
def prefect_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared by the runs, as a person's is: making Prefect's database takes as long as a run."""
    return tmp_path_factory.mktemp("prefect")


@pytest.fixture
def fruits_run(emr_environment: Setup, weights: str, tmp_path: Path, prefect_home: Path) -> Callable[[str], FruitsRun]:
    return lambda name: FruitsRun(emr_environment, name, weights, tmp_path, prefect_home)


@whole_run
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "terminated"])
def test_a_run_stopped_during_featurize_cancels_its_job_once(
    fruits_run: Callable[[str], FruitsRun], stand_in: StandIn, number: signal.Signals
):
    run = fruits_run("emr-serverless")
    hangs = hanging_in("featurize", stand_in)
    with run.start("log") as process:
        wait_for(lambda: hangs() or process.poll() is not None)
        process.send_signal(number)
        assert process.wait(90) != 0, run.said("log")
    assert stand_in.count("StartJobRun") == 1, run.said("log")
    assert stand_in.settle() == []
    assert stand_in.count("CancelJobRun") == 1


@whole_run
@both
def test_a_killed_run_that_is_started_again_cancels_what_it_left_and_does_the_work(
    fruits_run: Callable[[str], FruitsRun], stand_in: StandIn, name: str
):
    """A killed process can neither cancel its job nor give back its lease: the next one waits for the one, does the
    other, and publishes."""
    run = fruits_run(name)
    hangs = hanging_in("featurize", stand_in)
    with run.start("killed") as process:
        wait_for(lambda: hangs() or process.poll() is not None)
        os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL, run.said("killed")
    left = stand_in.running()
    assert len(left) == {"emr-serverless": 1, "emr-cluster": 2}[name]  # a cluster's step, and the cluster
    stand_in.serverless.work = stand_in.clusters.work = spark_jobs.serial
    with run.start("again") as process:
        assert process.wait(200) == 0, run.said("again")
    assert "left behind by the run" in run.said("again")
    assert stand_in.count(CANCEL[name]) == 1
    assert stand_in.count("TerminateJobFlows") == {"emr-serverless": 0, "emr-cluster": 2}[name]
    assert stand_in.settle() == []
    record = json.loads(objects(run.setup.output)["features/run.json"])
    assert record["counts"]["projected"] == PHOTOS
    assert stand_in.count(START[name]) == 2  # the killed run's job, and its own


@both
def test_a_killed_process_that_is_started_again_as_the_same_run_attaches_to_its_job(
    emr_environment: Setup, stand_in: StandIn, name: str
):
    setup = emr_environment
    request = json.dumps(asdict(setup.featurize_request(setup.indexed())))
    waiting = threading.Event()

    stand_in.serverless.work = stand_in.clusters.work = spark_jobs.before(
        "featurize", lambda _: (waiting.wait(), None)[1]
    )
    command = [sys.executable, "-c", FEATURIZE, name, request]
    with subprocess.Popen(command) as process:
        wait_for(lambda: "RUNNING" in [state for _, state in jobs(stand_in)])
        process.kill()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        polls = stand_in.count(POLL[name])
        wait_for(lambda: stand_in.count(POLL[name]) > polls or process.poll() is not None)
        waiting.set()
        assert process.communicate()[0].strip() == str(PHOTOS)
    assert stand_in.count(START[name]) == 1
    assert stand_in.count(CANCEL[name]) == 0
    assert stand_in.settle() == []


def orphan(setup: Setup, stand_in: StandIn, run: str, name: str) -> threading.Thread:
    """A job of `run` that hangs, as of a process that is gone; the thread ends when somebody cancels it."""
    hangs = hanging_in("featurize", stand_in)

    def dead() -> None:
        engine = setup.engine(name, run=run)
        with pytest.raises(StageError, match="cancelled"):
            setup.featurize(engine)

    thread = threading.Thread(target=dead, daemon=True)
    thread.start()
    wait_for(hangs)
    return thread


@both
@pytest.mark.parametrize("hooks", ["on_cancellation_hooks", "on_crashed_hooks"])
def test_prefect_s_hooks_stop_the_jobs_of_a_run_by_its_id_once(
    emr_environment: Setup, stand_in: StandIn, hooks: str, name: str
):
    """As Prefect calls them in another process, and again in the one that crashed."""
    from prefect.client.schemas.objects import FlowRun
    from prefect.settings import PREFECT_LOGGING_TO_API_ENABLED, temporary_settings
    from prefect.states import Crashed

    from flows.fruit_features import fruit_features

    run = FlowRun(id=uuid4(), flow_id=uuid4(), name="dead", parameters={"engine": name, "emr": None})
    thread = orphan(emr_environment, stand_in, str(run.id), name)
    with temporary_settings({PREFECT_LOGGING_TO_API_ENABLED: False}):  # no server knows this run
        for _ in range(2):
            for hook in getattr(fruit_features, hooks):
                hook(fruit_features, run, Crashed())
    thread.join(20)
    assert stand_in.settle() == []
    assert stand_in.count(CANCEL[name]) == 1
    assert stand_in.count("TerminateJobFlows") == {"emr-serverless": 0, "emr-cluster": 1}[name]


def fruits(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["emr", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_person_sees_and_stops_a_run(emr_environment: Setup, stand_in: StandIn):
    thread = orphan(emr_environment, stand_in, "lost", "emr-serverless")
    assert "RUNNING" in fruits("status")
    shown = fruits("status", "lost")
    assert "job 0" in shown
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


def test_a_person_stops_a_run_with_its_cluster(emr_environment: Setup, stand_in: StandIn):
    thread = orphan(emr_environment, stand_in, "lost", "emr-cluster")
    assert "console.aws.amazon.com" in fruits("status", "lost", "--engine", "emr-cluster")
    stopped = fruits("stop", "lost", "--engine", "emr-cluster")
    assert stopped.count("stopped j-") == 2  # the step and its cluster
    thread.join(20)
    assert "nothing was running" in fruits("stop", "lost", "--engine", "emr-cluster")
    assert stand_in.settle() == []
    assert stand_in.count("CancelSteps") == 1
    assert stand_in.count("TerminateJobFlows") == 1
    assert "instance_hours" in fruits("cost", "lost", "--engine", "emr-cluster")
