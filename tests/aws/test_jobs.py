"""One job per run, never two, and none left behind; what jobs do does not matter here."""

from __future__ import annotations

import threading
import time

import pytest

from engines.base import FitRequest
from engines.core.errors import InputError, StageError, TransientError
from engines.emr.control import stop_run
from engines.emr.protocol import State, output_tag
from engines.emr.serverless import _state
from tests.aws import spark_jobs
from tests.aws.conftest import PHOTOS, Setup
from tests.aws.jobs import CANCEL, START, both, ending_cancelled, jobs_started, states
from tests.aws.stand_in import StandIn


@both
def test_a_run_is_one_job_and_reports_like_any_engine(setup: Setup, stand_in: StandIn, name: str):
    seen = []
    with setup.engine(name) as engine:
        engine.on_progress = seen.append
        featurized, parts = setup.chain(engine)
        facts = engine.describe()
    assert (featurized.listed, featurized.featurized) == (PHOTOS, PHOTOS)
    assert sum(part["rows"] for part in parts) == PHOTOS
    assert jobs_started(stand_in) == 1
    assert states(stand_in) == [{"emr-serverless": "SUCCESS", "emr-cluster": "COMPLETED"}[name]]
    assert stand_in.count(CANCEL[name]) == 0
    assert facts["cost_usd"] > 0
    assert facts["prices_of"]
    assert stand_in.settle() == []


@both
def test_a_lost_connection_after_the_start_gives_one_job(setup: Setup, stand_in: StandIn, name: str):
    stand_in.faults.lose_after[START[name]] = 1
    with setup.engine(name) as engine:
        setup.featurize(engine)
    assert jobs_started(stand_in) == 1


def test_a_lost_connection_after_asking_for_a_cluster_gives_one_cluster(setup: Setup, stand_in: StandIn):
    stand_in.faults.lose_after["RunJobFlow"] = 1
    with setup.engine("emr-cluster") as engine:
        setup.featurize(engine)
    assert len(stand_in.clusters.clusters) == 1
    assert stand_in.settle() == []


@both
def test_a_fault_of_the_service_after_the_start_gives_one_job(setup: Setup, stand_in: StandIn, name: str):
    """AWS may answer 500 and have started it all the same."""
    stand_in.faults.fail_after[START[name]] = 1
    with setup.engine(name) as engine:
        setup.featurize(engine)
    assert jobs_started(stand_in) == 1


def test_a_fault_of_the_service_after_asking_for_a_cluster_gives_one_cluster(setup: Setup, stand_in: StandIn):
    stand_in.faults.fail_after["RunJobFlow"] = 1
    with setup.engine("emr-cluster") as engine:
        setup.featurize(engine)
    assert len(stand_in.clusters.clusters) == 1
    assert stand_in.settle() == []


def test_a_cluster_whose_id_never_arrived_is_terminated(setup: Setup, stand_in: StandIn):
    """Ctrl-C, say, while AWS answers."""
    engine = setup.engine("emr-cluster")
    call = engine._aws.call

    def interrupted(service, operation, **parameters):
        answer = call(service, operation, **parameters)
        if operation == "run_job_flow":
            raise KeyboardInterrupt
        return answer

    engine._aws.call = interrupted
    with engine, pytest.raises(KeyboardInterrupt):
        setup.featurize(engine)
    assert len(stand_in.clusters.clusters) == 1
    assert stand_in.count("TerminateJobFlows") == 1
    assert stand_in.settle() == []


def test_a_job_that_aws_does_not_list_yet_is_not_started_twice(setup: Setup, stand_in: StandIn):
    """Even when it would be of another size now: the client token belongs to the job that runs."""
    stand_in.serverless.work = spark_jobs.hang
    first, second = setup.engine(executors=1), setup.engine(executors=2)
    with ending_cancelled(first, setup):
        while "RUNNING" not in states(stand_in):
            time.sleep(0.02)
        stand_in.faults.unlisted = 2
        with second, ending_cancelled(second, setup):
            while not second.job.ids:
                time.sleep(0.02)
            stop_run("emr-serverless", first.settings, first.run)
    assert stand_in.faults.unlisted == 0
    assert jobs_started(stand_in) == 1
    assert stand_in.settle() == []


@both
def test_a_lost_connection_before_the_start_gives_one_job(setup: Setup, stand_in: StandIn, name: str):
    stand_in.faults.lose_before[START[name]] = 1
    with setup.engine(name) as engine:
        setup.featurize(engine)
    assert jobs_started(stand_in) == 1


@both
def test_an_answer_that_comes_too_late_gives_one_job(
    setup: Setup, stand_in: StandIn, name: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("engines.emr.calls.READ_SECONDS", 1)
    stand_in.faults.delay[START[name]] = 3.0
    with setup.engine(name) as engine:
        setup.featurize(engine)
    assert jobs_started(stand_in) == 1


@both
def test_a_second_attempt_attaches_to_the_job_that_runs(setup: Setup, stand_in: StandIn, name: str):
    """As when the first process was killed: nothing was cancelled, and the same run starts again."""
    waiting = threading.Event()
    stand_in.serverless.work = stand_in.clusters.work = spark_jobs.before(
        "featurize", lambda _: (waiting.wait(), None)[1]
    )
    first = setup.engine(name)
    request = setup.featurize_request(setup.indexed())
    stopped = []

    def replaced() -> None:
        first.featurize(request)
        with pytest.raises(StageError, match="has taken over") as caught:
            first.fit_pca(FitRequest(setup.output, request.catalog, request.fingerprint, 8))
        stopped.append(caught)

    thread = threading.Thread(target=replaced, daemon=True)
    thread.start()
    while not first.job.ids or "RUNNING" not in states(stand_in):
        time.sleep(0.02)
    second = setup.engine(name)
    poll = second.runner.poll
    second.runner.poll = lambda job: (waiting.set(), poll(job))[1]  # it has found its job
    assert second.featurize(request).listed == PHOTOS
    thread.join(20)
    assert stopped
    assert jobs_started(stand_in) == 1
    first.job.end()  # which is the job of the other process now
    assert stand_in.count(CANCEL[name]) == 0
    assert stand_in.running() != []
    second.close()
    assert stand_in.settle() == []


@both
def test_what_another_run_left_behind_is_cancelled(setup: Setup, stand_in: StandIn, name: str):
    stand_in.serverless.work = stand_in.clusters.work = spark_jobs.hang
    with ending_cancelled(setup.engine(name, run="dead"), setup):
        while "RUNNING" not in states(stand_in):
            time.sleep(0.02)
        stand_in.serverless.work = stand_in.clusters.work = spark_jobs.serial
        with setup.engine(name, run="next") as engine:
            setup.featurize(engine)
    assert stand_in.count(CANCEL[name]) == 1
    assert stand_in.settle() == []


@both
def test_leaving_a_stage_cancels_its_job_once(setup: Setup, stand_in: StandIn, name: str):
    indexed = setup.indexed()
    stand_in.serverless.work = stand_in.clusters.work = spark_jobs.hang
    engine = setup.engine(name)

    class Stop(BaseException):
        pass

    def interrupt(_):
        raise Stop

    poll = engine.runner.poll
    engine.runner.poll = lambda job: interrupt(job) if "RUNNING" in states(stand_in) else poll(job)
    with pytest.raises(Stop):
        engine.featurize(setup.featurize_request(indexed))
    engine.close()
    assert stand_in.count(CANCEL[name]) == 1
    assert stand_in.settle() == []


@both
def test_a_cancel_that_fails_is_made_again_at_the_end(setup: Setup, stand_in: StandIn, name: str):
    indexed = setup.indexed()
    stand_in.serverless.work = stand_in.clusters.work = spark_jobs.hang
    engine = setup.engine(name, patience_seconds=0.1)
    poll = engine.runner.poll

    def unreachable(job):
        if "RUNNING" in states(stand_in):
            stand_in.faults.lose_before[CANCEL[name]] = 10**6
            raise StageError("the network went away", "")
        return poll(job)

    engine.runner.poll = unreachable
    with engine:
        with pytest.raises(TransientError, match="did not answer cancel"):
            engine.featurize(setup.featurize_request(indexed))
        assert "RUNNING" in states(stand_in)
        stand_in.faults.lose_before.clear()
    assert stand_in.count(CANCEL[name]) == 1
    assert stand_in.settle() == []


@both
def test_a_job_that_somebody_stopped_is_not_worth_another_attempt(setup: Setup, stand_in: StandIn, name: str):
    """`fruits emr stop` would be undone by Prefect's retry, which is for TransientErrors."""
    stand_in.serverless.work = stand_in.clusters.work = spark_jobs.hang
    with setup.engine(name) as engine, ending_cancelled(engine, setup):
        while "RUNNING" not in states(stand_in):
            time.sleep(0.02)
        stop_run(name, engine.settings, engine.run)
    assert jobs_started(stand_in) == 1
    assert stand_in.count(CANCEL[name]) == 1
    assert stand_in.settle() == []


def test_a_step_that_cannot_be_cancelled_does_not_keep_its_cluster_running(setup: Setup, stand_in: StandIn):
    stand_in.clusters.work = spark_jobs.hang
    stand_in.faults.deny["CancelSteps"] = "not authorized to perform: elasticmapreduce:CancelSteps"
    with setup.engine("emr-cluster") as engine, ending_cancelled(engine, setup):
        while "RUNNING" not in states(stand_in):
            time.sleep(0.02)
        with pytest.raises(InputError, match="CancelSteps"):
            stop_run("emr-cluster", engine.settings, engine.run)
    assert stand_in.settle() == []


def test_a_state_that_is_not_known_here_counts_as_running():
    """AWS added QUEUED in 2024; what may cost money must not be overlooked."""
    assert _state({"state": "THINKING"}) is State.RUNNING


def test_an_output_is_the_same_however_it_is_spelled():
    assert output_tag("s3://bucket/output/") == output_tag("s3a://bucket/output")
