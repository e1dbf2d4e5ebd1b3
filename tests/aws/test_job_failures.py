"""What AWS or a job does wrong is waited out, or said with what to do; nothing is left running."""

from __future__ import annotations

from dataclasses import asdict, replace

import boto3
import pytest

from engines.base import Progress
from engines.core.errors import InputError, StageError, TransientError
from engines.emr.archive import Artifacts
from engines.emr.calls import Aws as AwsCalls
from engines.emr.cluster_request import cluster_for
from engines.emr.job_driver import carry_out
from engines.emr.orders import Entry, Kind
from engines.emr.protocol import JobName
from engines.emr.sizing import smallest_size
from tests.aws import spark_jobs
from tests.aws.conftest import PHOTOS, Setup
from tests.aws.jobs import both, jobs_started, states
from tests.aws.stand_in import StandIn


@both
def test_throttling_is_waited_out(setup: Setup, stand_in: StandIn, name: str):
    engine = setup.engine(name, patience_seconds=60.0)
    engine._aws.pause = lambda _: None
    stand_in.faults.throttle = 6
    with engine:
        assert setup.featurize(engine).listed == PHOTOS
    assert stand_in.faults.throttle == 0


def test_endless_throttling_is_a_transient_error_and_starts_nothing(setup: Setup, stand_in: StandIn):
    stand_in.faults.throttle = 10**6
    with setup.engine(patience_seconds=1.0) as engine, pytest.raises(TransientError, match="ThrottlingException"):
        setup.featurize(engine)
    assert jobs_started(stand_in) == 0


def test_credentials_that_are_renewed_in_time_go_unnoticed(setup: Setup, stand_in: StandIn):
    engine = setup.engine()
    engine._aws.pause = lambda _: None
    with engine:
        indexed = engine.index(setup.index_request())
        stand_in.faults.expired = 2
        assert engine.featurize(setup.featurize_request(indexed)).featurized == PHOTOS


def test_every_page_of_a_listing_is_waited_for_and_has_fresh_credentials(setup: Setup, stand_in: StandIn):
    stand_in.serverless.work = spark_jobs.fail("lost")
    with setup.engine() as engine:
        for _ in range(2):
            with pytest.raises(StageError):
                setup.featurize(engine)
    calls = AwsCalls(setup.settings, pause=lambda _: None)
    before = stand_in.count("ListJobRuns")
    items = calls.items("emr-serverless", "list_job_runs", applicationId="00emr", PaginationConfig={"PageSize": 1})
    newest = next(items)
    stand_in.faults.throttle, stand_in.faults.expired = 2, 1
    (oldest,) = items
    assert [JobName.parse(item["name"]).attempt for item in (oldest, newest)] == [0, 1]
    assert (stand_in.faults.throttle, stand_in.faults.expired) == (0, 0)
    assert stand_in.count("ListJobRuns") - before == 2


def test_expired_credentials_before_the_start_are_said_and_start_nothing(setup: Setup, stand_in: StandIn):
    stand_in.faults.expired = 10**6
    engine = setup.engine()
    engine._aws.pause = lambda _: None
    with engine, pytest.raises(InputError, match="have expired") as caught:
        setup.featurize(engine)
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
        setup.featurize(engine)
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
        setup.featurize(engine)
    if name == "emr-serverless":
        assert "exceeded its maximum capacity" in caught.value.message
    assert "quota" in caught.value.hint
    assert stand_in.settle() == []


def test_executors_are_taken_back_to_the_application_s_capacity(setup: Setup, stand_in: StandIn):
    stand_in.serverless.application["maximumCapacity"] = {"cpu": "12 vCPU", "memory": "100 GB"}
    with setup.engine(executors=9) as engine:
        setup.featurize(engine)
    (run,) = stand_in.serverless.runs.values()
    assert "spark.executor.instances=2 " in run.request["jobDriver"]["sparkSubmit"]["sparkSubmitParameters"]


def test_a_capacity_too_small_for_one_executor_is_said(setup: Setup, stand_in: StandIn):
    stand_in.serverless.application["maximumCapacity"] = {"cpu": "4 vCPU", "memory": "100 GB"}
    with setup.engine() as engine, pytest.raises(InputError, match="does not hold a driver and one executor"):
        setup.featurize(engine)
    assert jobs_started(stand_in) == 0


def test_a_job_that_exceeds_a_quota_that_could_not_be_read_says_how_to_raise_it(setup: Setup, stand_in: StandIn):
    stand_in.faults.deny["GetServiceQuota"] = "not authorized to perform: servicequotas:GetServiceQuota"
    stand_in.quotas.vcpus = 16.0
    with setup.engine(executors=9) as engine, pytest.raises(StageError, match="ServiceQuotaExceeded") as caught:
        setup.featurize(engine)
    assert "Max concurrent vCPUs per account" in caught.value.hint
    assert "driver's log" not in caught.value.hint  # there is none
    assert stand_in.settle() == []


@both
def test_a_failed_job_shows_the_end_of_the_driver_s_log(setup: Setup, stand_in: StandIn, name: str):
    stand_in.serverless.work = stand_in.clusters.work = spark_jobs.fail("java.lang.OutOfMemoryError: Java heap space")
    with setup.engine(name) as engine, pytest.raises(StageError, match="failed") as caught:
        setup.featurize(engine)
    assert "OutOfMemoryError" in caught.value.hint
    assert stand_in.settle() == []


def test_an_unreadable_log_is_said_and_hides_nothing(setup: Setup, stand_in: StandIn, aws):
    stand_in.serverless.work = spark_jobs.fail("secret reason")
    bucket = aws.new_bucket()
    engine = setup.engine()
    engine.runner._settings = replace(setup.settings, artifacts=f"s3://{bucket}/denied")
    aws.deny(bucket, "s3:GetObject")
    with engine, pytest.raises(StageError, match="ExitCode: 1") as caught:
        setup.featurize(engine)
    assert "cannot be read" in caught.value.hint


def test_an_error_of_the_stage_is_the_same_error_here(setup: Setup, stand_in: StandIn):
    def refuse(_: spark_jobs.Work) -> None:
        raise InputError("no image matches", "Choose another --glob.")

    stand_in.serverless.work = spark_jobs.before("featurize", refuse)
    with setup.engine() as engine, pytest.raises(InputError, match="no image matches") as caught:
        setup.featurize(engine)
    assert caught.value.hint == "Choose another --glob."
    assert stand_in.settle() == []
    assert states(stand_in) == ["FAILED"]


def test_a_retry_after_a_failed_job_is_a_new_job(setup: Setup, stand_in: StandIn):
    stand_in.serverless.work = spark_jobs.fail("lost")
    with setup.engine() as engine:
        with pytest.raises(StageError):
            setup.featurize(engine)
        stand_in.serverless.work = spark_jobs.serial
        assert setup.featurize(engine).listed == PHOTOS
    assert [run.request["name"].split("/")[2] for run in stand_in.serverless.runs.values()] == ["0", "1"]


def test_a_given_cluster_is_left_running(setup: Setup, stand_in: StandIn):
    published = Artifacts(setup.settings, AwsCalls(setup.settings)).current()
    started = boto3.client("emr").run_job_flow(
        **cluster_for("a-person", setup.settings, published, smallest_size(setup.settings))
    )
    with setup.engine("emr-cluster", cluster_id=started["JobFlowId"]) as engine:
        setup.featurize(engine)
    assert stand_in.clusters.clusters[started["JobFlowId"]].state == "WAITING"
    assert stand_in.count("TerminateJobFlows") == 0


def test_bootstrap_that_fails_is_the_cluster_s_reason(setup: Setup, stand_in: StandIn):
    stand_in.clusters.work = None  # so that the bootstrap action runs, on an archive that is none
    with setup.engine("emr-cluster") as engine, pytest.raises(StageError, match=r"bootstrap action 1 returned"):
        setup.featurize(engine)
    assert stand_in.settle() == []


def test_billing_that_is_late_is_said_not_guessed(setup: Setup, stand_in: StandIn):
    stand_in.serverless.report_billing = False
    with setup.engine(log_wait_seconds=0.2) as engine:
        setup.featurize(engine)
        assert "fruits emr cost" in engine.describe()["billed"]


def test_a_bill_that_cannot_be_read_does_not_cost_the_results(setup: Setup, stand_in: StandIn):
    with setup.engine() as engine:
        setup.featurize(engine)
        stand_in.faults.deny["ListJobRuns"] = "not authorized to perform: emr-serverless:ListJobRuns"
        billed = engine.describe()["billed"]
        stand_in.faults.deny.clear()
    assert "could not be read" in billed
    assert f"fruits emr cost {engine.run}" in billed


def test_progress_that_cannot_be_written_ends_no_stage(setup: Setup):
    class Engine(spark_jobs.SequentialEngine):
        def describe(self):
            return {"spark": "3.5.6"}

    def unwritable(_: Progress) -> None:
        tried.append(1)
        raise TransientError("the network went away")

    tried: list[int] = []
    order = Entry(Kind.STAGE, "run", "featurize", asdict(setup.featurize_request(setup.indexed())))
    answer = carry_out(order, Engine(), unwritable)
    assert tried
    assert answer["report"]["featurized"] == PHOTOS
    assert answer["facts"]["spark"] == "3.5.6"
