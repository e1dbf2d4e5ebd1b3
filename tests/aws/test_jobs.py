"""One job per stage, never two, and none left behind; what jobs do does not matter here."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import boto3
import pytest

from engines.core.catalog import read_catalog
from engines.core.errors import InputError, StageError, TransientError
from engines.emr.artifacts import Artifacts
from engines.emr.calls import Aws as AwsCalls
from engines.emr.cluster_request import cluster_for
from engines.emr.control import stop_run
from engines.emr.cost import estimate_stages
from engines.emr.engine import EmrEngine
from engines.emr.protocol import State, output_tag
from engines.emr.serverless import _state
from tests.aws import spark_jobs
from tests.aws.conftest import PHOTOS, Setup
from tests.aws.stand_in import StandIn

both = pytest.mark.parametrize("name", ["emr-serverless", "emr-cluster"])
START = {"emr-serverless": "StartJobRun", "emr-cluster": "AddJobFlowSteps"}
CANCEL = {"emr-serverless": "CancelJobRun", "emr-cluster": "CancelSteps"}


def jobs_started(stand_in: StandIn) -> int:
    return len(stand_in.serverless.runs) + sum(len(cluster.steps) for cluster in stand_in.clusters.clusters.values())


@both
def test_each_stage_is_one_job_and_reports_like_any_engine(setup: Setup, stand_in: StandIn, name: str):
    seen = []
    with setup.engine(name) as engine:
        engine.on_progress = seen.append
        featurized, parts = setup.chain(engine)
        facts = engine.describe()
    assert (featurized.listed, featurized.featurized) == (PHOTOS, PHOTOS)
    assert sum(part["rows"] for part in parts) == PHOTOS
    assert jobs_started(stand_in) == 4
    assert facts["cost_usd"] > 0
    assert facts["prices_of"]
    assert stand_in.settle() == []


@both
def test_a_lost_connection_after_the_start_gives_one_job(setup: Setup, stand_in: StandIn, name: str):
    stand_in.faults.lose_after[START[name]] = 1
    with setup.engine(name) as engine:
        engine.index(setup.index_request())
    assert jobs_started(stand_in) == 1


def test_a_lost_connection_after_asking_for_a_cluster_gives_one_cluster(setup: Setup, stand_in: StandIn):
    stand_in.faults.lose_after["RunJobFlow"] = 1
    with setup.engine("emr-cluster") as engine:
        engine.index(setup.index_request())
    assert len(stand_in.clusters.clusters) == 1
    assert stand_in.settle() == []


@both
def test_a_fault_of_the_service_after_the_start_gives_one_job(setup: Setup, stand_in: StandIn, name: str):
    """AWS may answer 500 and have started it all the same."""
    stand_in.faults.fail_after[START[name]] = 1
    with setup.engine(name) as engine:
        engine.index(setup.index_request())
    assert jobs_started(stand_in) == 1


def test_a_fault_of_the_service_after_asking_for_a_cluster_gives_one_cluster(setup: Setup, stand_in: StandIn):
    stand_in.faults.fail_after["RunJobFlow"] = 1
    with setup.engine("emr-cluster") as engine:
        engine.index(setup.index_request())
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
        engine.index(setup.index_request())
    assert len(stand_in.clusters.clusters) == 1
    assert stand_in.count("TerminateJobFlows") == 1
    assert stand_in.settle() == []


def test_a_job_that_aws_does_not_list_yet_is_not_started_twice(setup: Setup, stand_in: StandIn):
    """Even when it would be of another size now: the client token belongs to the job that runs."""
    stand_in.serverless.work = spark_jobs.hang
    first, second = setup.engine(executors=1), setup.engine(executors=2)
    thread = threading.Thread(target=ends_cancelled, args=(first, setup), daemon=True)
    thread.start()
    while "RUNNING" not in states(stand_in):
        time.sleep(0.02)
    stand_in.faults.unlisted = 2
    with second:
        ends = threading.Thread(target=ends_cancelled, args=(second, setup), daemon=True)
        ends.start()
        while second._job is None:
            time.sleep(0.02)
        first.close()
        ends.join(20)
    thread.join(20)
    assert stand_in.faults.unlisted == 0
    assert jobs_started(stand_in) == 1
    assert stand_in.settle() == []


def ends_cancelled(engine: EmrEngine, setup: Setup) -> None:
    with pytest.raises(StageError, match="cancelled"):
        engine.index(setup.index_request())


@both
def test_a_lost_connection_before_the_start_gives_one_job(setup: Setup, stand_in: StandIn, name: str):
    stand_in.faults.lose_before[START[name]] = 1
    with setup.engine(name) as engine:
        engine.index(setup.index_request())
    assert jobs_started(stand_in) == 1


@both
def test_an_answer_that_comes_too_late_gives_one_job(
    setup: Setup, stand_in: StandIn, name: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("engines.emr.calls.READ_SECONDS", 1)
    stand_in.faults.delay[START[name]] = 3.0
    with setup.engine(name) as engine:
        engine.index(setup.index_request())
    assert jobs_started(stand_in) == 1


@both
def test_a_second_attempt_attaches_to_the_job_that_runs(setup: Setup, stand_in: StandIn, name: str):
    """As when the first process was killed: nothing was cancelled, and the same run starts again."""
    first = setup.engine(name)
    first._check(setup.source, setup.output)
    waiting = threading.Event()

    def slowly(arguments):
        job = spark_jobs.serial(arguments)
        return lambda work: (waiting.wait(), job(work))[1]

    stand_in.serverless.work = stand_in.clusters.work = slowly
    thread = threading.Thread(target=lambda: first.index(setup.index_request()), daemon=True)
    thread.start()
    while not stand_in.running() or not jobs_started(stand_in):
        time.sleep(0.02)
    second = setup.engine(name)
    poll = second.runner.poll
    second.runner.poll = lambda job: (waiting.set(), poll(job))[1]  # it has found its job
    report = second.index(setup.index_request())
    thread.join(10)
    assert report.listed == PHOTOS
    assert jobs_started(stand_in) == 1
    assert stand_in.count(CANCEL[name]) == 0
    first.runner._created = None  # its process is gone, and closes nothing
    second.close()
    assert stand_in.settle() == []


@both
def test_what_another_run_left_behind_is_cancelled(setup: Setup, stand_in: StandIn, name: str):
    stand_in.serverless.work = stand_in.clusters.work = spark_jobs.hang
    dead = setup.engine(name, run="dead")
    thread = threading.Thread(target=ends_cancelled, args=(dead, setup), daemon=True)
    thread.start()
    while "RUNNING" not in states(stand_in):
        time.sleep(0.02)
    stand_in.serverless.work = stand_in.clusters.work = spark_jobs.serial
    with setup.engine(name, run="next") as engine:
        engine.index(setup.index_request())
    thread.join(10)
    assert stand_in.count(CANCEL[name]) == 1
    assert stand_in.settle() == []


def states(stand_in: StandIn) -> list[str]:
    stand_in.running()
    steps = [step.state for cluster in stand_in.clusters.clusters.values() for step in cluster.steps]
    return [run.state for run in stand_in.serverless.runs.values()] + steps


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
    with setup.engine(name) as engine:
        ends = threading.Thread(target=ends_cancelled, args=(engine, setup), daemon=True)
        ends.start()
        while "RUNNING" not in states(stand_in):
            time.sleep(0.02)
        stop_run(name, engine.settings, engine.run)
        ends.join(20)
        assert not ends.is_alive()
    assert jobs_started(stand_in) == 1
    assert stand_in.count(CANCEL[name]) == 1
    assert stand_in.settle() == []


def test_a_step_that_cannot_be_cancelled_does_not_keep_its_cluster_running(setup: Setup, stand_in: StandIn):
    stand_in.clusters.work = spark_jobs.hang
    stand_in.faults.deny["CancelSteps"] = "not authorized to perform: elasticmapreduce:CancelSteps"
    with setup.engine("emr-cluster") as engine:
        ends = threading.Thread(target=ends_cancelled, args=(engine, setup), daemon=True)
        ends.start()
        while "RUNNING" not in states(stand_in):
            time.sleep(0.02)
        with pytest.raises(InputError, match="CancelSteps"):
            stop_run("emr-cluster", engine.settings, engine.run)
        ends.join(20)
        assert not ends.is_alive()
    assert stand_in.settle() == []


def test_a_state_that_is_not_known_here_counts_as_running():
    """AWS added QUEUED in 2024; what may cost money must not be overlooked."""
    assert _state({"state": "THINKING"}) is State.RUNNING


def test_an_output_is_the_same_however_it_is_spelled():
    assert output_tag("s3://bucket/output/") == output_tag("s3a://bucket/output")


@both
def test_throttling_is_waited_out(setup: Setup, stand_in: StandIn, name: str):
    engine = setup.engine(name, patience_seconds=60.0)
    engine._aws.pause = lambda _: None
    stand_in.faults.throttle = 6
    with engine:
        assert engine.index(setup.index_request()).listed == PHOTOS
    assert stand_in.faults.throttle == 0


def test_endless_throttling_is_a_transient_error_and_starts_nothing(setup: Setup, stand_in: StandIn):
    stand_in.faults.throttle = 10**6
    with setup.engine(patience_seconds=1.0) as engine, pytest.raises(TransientError, match="ThrottlingException"):
        engine.index(setup.index_request())
    assert jobs_started(stand_in) == 0


def test_credentials_that_are_renewed_in_time_go_unnoticed(setup: Setup, stand_in: StandIn):
    engine = setup.engine()
    engine._aws.pause = lambda _: None
    with engine:
        indexed = engine.index(setup.index_request())
        stand_in.faults.expired = 2
        assert engine.featurize(setup.featurize_request(indexed)).featurized == PHOTOS


def test_expired_credentials_before_the_start_are_said_and_start_nothing(setup: Setup, stand_in: StandIn):
    stand_in.faults.expired = 10**6
    engine = setup.engine()
    engine._aws.pause = lambda _: None
    with engine, pytest.raises(InputError, match="have expired") as caught:
        engine.index(setup.index_request())
    assert "aws sso login" in caught.value.hint
    assert jobs_started(stand_in) == 0


def test_credentials_that_expire_for_good_leave_the_job_to_its_timeout(setup: Setup, stand_in: StandIn):
    stand_in.serverless.work = spark_jobs.hang
    stand_in.minute = 0.25
    engine = setup.engine(timeout_minutes=4)
    engine._aws.pause = lambda _: None
    poll = engine.runner.poll

    def expiring(job):
        if states(stand_in) == ["RUNNING"]:
            stand_in.faults.expired = 10**6
        return poll(job)

    engine.runner.poll = expiring
    with pytest.raises(InputError, match="have expired") as caught:
        engine.index(setup.index_request())
    assert "fruits emr stop" in caught.value.hint
    stand_in.faults.expired = 0
    assert states(stand_in)[0] in ("RUNNING", "CANCELLING", "CANCELLED")  # the timeout may have come by now
    assert stand_in.settle() == []
    assert stand_in.count("CancelJobRun") == 0
    assert stand_in.serverless.runs["0" * 16].state == "CANCELLED"


@both
def test_a_job_that_stays_pending_is_given_up_with_its_reason(setup: Setup, stand_in: StandIn, name: str):
    stand_in.faults.pending = True
    stand_in.faults.pending_detail = "The application has exceeded its maximum capacity of 200 vCPU"
    with (
        setup.engine(name, start_timeout_minutes=0.02) as engine,
        pytest.raises(StageError, match=r"did not start within 0\.02 minutes") as caught,
    ):
        engine.index(setup.index_request())
    if name == "emr-serverless":
        assert "exceeded its maximum capacity" in caught.value.message
    assert "quota" in caught.value.hint
    assert stand_in.settle() == []


def test_executors_are_taken_back_to_the_application_s_capacity(setup: Setup, stand_in: StandIn):
    stand_in.serverless.application["maximumCapacity"] = {"cpu": "12 vCPU", "memory": "100 GB"}
    with setup.engine(executors=9) as engine:
        engine.index(setup.index_request())
    (run,) = stand_in.serverless.runs.values()
    assert "spark.executor.instances=2 " in run.request["jobDriver"]["sparkSubmit"]["sparkSubmitParameters"]


def test_a_capacity_too_small_for_one_executor_is_said(setup: Setup, stand_in: StandIn):
    stand_in.serverless.application["maximumCapacity"] = {"cpu": "4 vCPU", "memory": "100 GB"}
    with setup.engine() as engine, pytest.raises(InputError, match="does not hold a driver and one executor"):
        engine.index(setup.index_request())
    assert jobs_started(stand_in) == 0


@both
def test_a_failed_job_shows_the_end_of_the_driver_s_log(setup: Setup, stand_in: StandIn, name: str):
    stand_in.serverless.work = stand_in.clusters.work = spark_jobs.fail("java.lang.OutOfMemoryError: Java heap space")
    with setup.engine(name) as engine, pytest.raises(StageError, match="failed") as caught:
        engine.index(setup.index_request())
    assert "OutOfMemoryError" in caught.value.hint
    assert stand_in.settle() == []


def test_an_unreadable_log_is_said_and_hides_nothing(setup: Setup, stand_in: StandIn, aws):
    stand_in.serverless.work = spark_jobs.fail("secret reason")
    bucket = aws.new_bucket()
    engine = setup.engine()
    engine.runner._settings = replace(setup.settings, artifacts=f"s3://{bucket}/denied")
    aws.deny(bucket, "s3:GetObject")
    with engine, pytest.raises(StageError, match="ExitCode: 1") as caught:
        engine.index(setup.index_request())
    assert "cannot be read" in caught.value.hint


def test_an_error_of_the_stage_is_the_same_error_here(setup: Setup, stand_in: StandIn):
    def refuse(arguments):
        import json

        order = json.loads(arguments[0])

        def run(_):
            explained = {"kind": "InputError", "message": "no image matches", "hint": "Choose another --glob."}
            storage = spark_jobs.stage_job.open_storage(order["request"]["output"])
            storage.write(order["report_key"], json.dumps({"error": explained}).encode())
            return 1, b"", b""

        return run

    stand_in.serverless.work = refuse
    with setup.engine() as engine, pytest.raises(InputError, match="no image matches") as caught:
        engine.index(setup.index_request())
    assert caught.value.hint == "Choose another --glob."


def test_a_retry_after_a_failed_job_is_a_new_job(setup: Setup, stand_in: StandIn):
    stand_in.serverless.work = spark_jobs.fail("lost")
    with setup.engine() as engine:
        with pytest.raises(StageError):
            engine.index(setup.index_request())
        stand_in.serverless.work = spark_jobs.serial
        assert engine.index(setup.index_request()).listed == PHOTOS
    assert [run.request["name"].split("/")[3] for run in stand_in.serverless.runs.values()] == ["0", "1"]


def test_a_given_cluster_is_left_running(setup: Setup, stand_in: StandIn):
    published = Artifacts(setup.settings, AwsCalls(setup.settings)).current()
    started = boto3.client("emr").run_job_flow(**cluster_for("a-person", setup.settings, published))
    with setup.engine("emr-cluster", cluster_id=started["JobFlowId"]) as engine:
        engine.index(setup.index_request())
    assert stand_in.clusters.clusters[started["JobFlowId"]].state == "WAITING"
    assert stand_in.count("TerminateJobFlows") == 0


def test_bootstrap_that_fails_is_the_cluster_s_reason(setup: Setup, stand_in: StandIn):
    stand_in.clusters.work = None  # so that the bootstrap action runs, on an archive that is none
    with setup.engine("emr-cluster") as engine, pytest.raises(StageError, match=r"bootstrap action 1 returned"):
        engine.index(setup.index_request())
    assert stand_in.settle() == []


def test_max_cost_stops_before_anything_is_started(setup: Setup, stand_in: StandIn):
    with setup.engine(max_cost=0.001) as engine, pytest.raises(InputError, match=r"more than the 0\.00 US dollars"):
        engine.index(setup.index_request())
    assert jobs_started(stand_in) == 0


def test_max_cost_without_a_price_is_refused(setup: Setup, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("engines.emr.cost._price_file", lambda: {"date": "2026-01-01", "source": "none"})
    with setup.engine(max_cost=5.0) as engine, pytest.raises(InputError, match="no EMR price is known"):
        engine.index(setup.index_request())
    assert jobs_started(stand_in) == 0


def test_billing_that_is_late_is_said_not_guessed(setup: Setup, stand_in: StandIn):
    stand_in.serverless.report_billing = False
    with setup.engine(log_wait_seconds=0.2) as engine:
        engine.index(setup.index_request())
        assert "fruits emr cost" in engine.describe()["billed"]


def test_a_bill_that_cannot_be_read_does_not_cost_the_results(setup: Setup, stand_in: StandIn):
    with setup.engine() as engine:
        engine.index(setup.index_request())
        stand_in.faults.deny["ListJobRuns"] = "not authorized to perform: emr-serverless:ListJobRuns"
        billed = engine.describe()["billed"]
        stand_in.faults.deny.clear()
    assert "could not be read" in billed
    assert f"fruits emr cost {engine.run}" in billed


def test_what_is_not_billed_yet_counts_for_max_cost_as_it_was_estimated(setup: Setup, stand_in: StandIn):
    stand_in.serverless.report_billing = False
    request = setup.index_request()
    shards = len(read_catalog(setup.output, setup.indexed().catalog).shards)
    index = estimate_stages(setup.settings, "emr-serverless", ["index"], 0, 0).cost or 0.0
    rest = ["featurize", "fit_pca", "project"]
    after = estimate_stages(setup.settings, "emr-serverless", rest, PHOTOS, shards).cost or 0.0
    with setup.engine(max_cost=after + index / 2, log_wait_seconds=0.0) as engine:
        indexed = engine.index(request)
        with pytest.raises(InputError, match="spent: more than the"):
            engine.featurize(setup.featurize_request(indexed))
    assert jobs_started(stand_in) == 1


def test_progress_that_cannot_be_written_ends_no_job(setup: Setup, monkeypatch: pytest.MonkeyPatch):
    class Engine(spark_jobs.SequentialEngine):
        def describe(self):
            return {"spark": "3.5.6"}

    indexed = setup.indexed()
    request = setup.featurize_request(indexed)
    storage = spark_jobs.stage_job.open_storage(setup.output)

    class Unwritable:
        def write(self, key: str, content: bytes) -> None:
            raise TransientError("the network went away")

    monkeypatch.setattr("engines.spark_engine.SparkEngine", Engine)
    monkeypatch.setattr(spark_jobs.stage_job, "open_storage", lambda _: Unwritable())
    left = spark_jobs.stage_job.run_stage("featurize", request, "jobs/progress.json")
    assert left["report"]["featurized"] == PHOTOS
    assert left["facts"]["spark"] == "3.5.6"
    assert not storage.exists("jobs/progress.json")
