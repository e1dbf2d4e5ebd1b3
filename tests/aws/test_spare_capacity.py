"""Executors that AWS takes back: asked for, paid for and recorded as such, and the results are the same bytes."""

from __future__ import annotations

import os
import signal
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark import cloudpickle

from engines.core.errors import InputError
from engines.core.stages.featurize import featurize_shard
from engines.core.storage import open_storage
from engines.emr import spare_capacity
from engines.emr.calls import Aws
from engines.emr.cost import cost_record, estimate_job, load_prices
from engines.emr.cost_allocation import allocate_by_job, allocation_of
from engines.emr.protocol import Billed
from engines.emr.settings import EmrSettings, settings_from
from engines.emr.sizing import Work
from engines.emr.worker_hours import billed_workers, used_workers
from engines.patience import TRIES
from engines.spark.engine import SparkEngine
from tests.aws import spark_jobs
from tests.aws.conftest import PHOTOS, Setup, objects, whole_run
from tests.aws.stand_in import StandIn
from tests.parity.processes import spark_cluster

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import tests

ALL = dict.fromkeys(("featurize", "fit_pca", "project"), Work(90_483, 177))


def executor_of(daemon: int) -> int:
    """The process that started pyspark's daemon: the JVM of the executor."""
    return int(Path(f"/proc/{daemon}/stat").read_text().rpartition(")")[2].split()[1])


def parameters(stand_in: StandIn) -> str:
    (run,) = stand_in.serverless.runs.values()
    return str(run.request["jobDriver"]["sparkSubmit"]["sparkSubmitParameters"])


def test_flex_is_asked_for_and_recorded(setup: Setup, stand_in: StandIn):
    with setup.engine(flex=True) as engine:
        setup.featurize(engine)
        details = engine.describe()
    (run,) = stand_in.serverless.runs.values()
    assert run.request["flexExecution"] == {"enabled": True}
    assert f"spark.task.maxFailures={spare_capacity.TRIES}" in parameters(stand_in)
    assert details["capacity"] == "flex"
    assert details["flex_vcpu_hours"] > details["vcpu_hours"] > 0
    assert details["cost_usd_at_most"] > 0


def test_without_it_nothing_of_it_is_asked_for(setup: Setup, stand_in: StandIn):
    with setup.engine() as engine:
        setup.featurize(engine)
        assert "capacity" not in engine.describe()
    (run,) = stand_in.serverless.runs.values()
    assert "flexExecution" not in run.request
    assert f"spark.task.maxFailures={TRIES} " in parameters(stand_in)


def test_a_release_that_does_not_have_it_is_said(setup: Setup, stand_in: StandIn):
    stand_in.serverless.flex_releases = r"emr-9\..*"
    with setup.engine(flex=True) as engine, pytest.raises(InputError, match=r"with Flex: .*emr-7\.13\.0") as caught:
        setup.featurize(engine)
    assert caught.value.hint == "Leave out flex = true."
    assert stand_in.serverless.runs == {}


def test_a_boto3_that_does_not_know_it_is_said_before_anything_starts(
    setup: Setup, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
):
    engine = setup.engine(flex=True)
    monkeypatch.setattr(engine._aws, "takes", lambda *_: False)
    with engine, pytest.raises(InputError, match="does not know Flex"):
        engine.index(setup.index_request())
    assert stand_in.serverless.runs == {}


def job_run(**facts: Any) -> dict[str, Any]:
    """A job of Flex with a driver of 2 vCPU and 8 GB, and 3 executors of 4 vCPU and 8 GB, as GetJobRun has it."""
    conf = {"driver.cores": "2", "driver.memory": "2g", "driver.memoryOverhead": "6g", "executor.cores": "4"}
    conf |= {"executor.memory": "2g", "executor.memoryOverhead": "6g", "executor.instances": "3"}
    words = " ".join(f"--conf spark.{name}={value}" for name, value in conf.items())
    driver = {"sparkSubmit": {"sparkSubmitParameters": words}}
    return {"flexExecution": {"enabled": True}, "jobDriver": driver, **facts}


def test_the_driver_is_billed_as_standard_and_the_executors_as_flex():
    billed = {"vCPUHour": 5.0, "memoryGBHour": 12.0, "storageGBHour": 0.5}
    run = job_run(totalExecutionDurationSeconds=1800, billedResourceUtilization=billed)
    assert billed_workers(run) == Billed(1.0, 4.0, 0.5, flex_vcpu_hours=4.0, flex_memory_gb_hours=8.0)


def test_what_a_job_has_used_before_it_is_billed_is_its_workers_for_as_long_as_it_runs():
    began = datetime(2026, 11, 25, 12, tzinfo=UTC)
    hour = Billed(2.0, 8.0, flex_vcpu_hours=12.0, flex_memory_gb_hours=24.0)
    later = began + timedelta(hours=2)
    assert used_workers(job_run(), later) == Billed()  # it waits for its start
    assert used_workers(job_run(startedAt=began), later) == hour.times(2)
    assert used_workers(job_run(startedAt=began, endedAt=began + timedelta(minutes=30)), later) == hour.times(0.5)
    assert used_workers(job_run(startedAt=began), began + timedelta(seconds=5)) == hour.times(1 / 60)
    billed = {"vCPUHour": 5.0, "memoryGBHour": 12.0, "storageGBHour": 0.0}
    run = job_run(startedAt=began, totalExecutionDurationSeconds=1800, billedResourceUtilization=billed)
    assert used_workers(run, later) == billed_workers(run)


def test_without_its_price_the_cost_is_an_upper_bound_and_says_so():
    spare = EmrSettings(flex=True)
    estimate, standard = (estimate_job(one, "emr-serverless", ALL) for one in (spare, EmrSettings()))
    assert estimate.bound
    assert estimate.cost == pytest.approx(standard.cost)
    assert "less than" in str(estimate)
    assert "cost_usd_at_most" in cost_record(spare, "emr-serverless", estimate.billed)


def test_with_its_price_the_cost_is_what_it_is():
    prices = {"flex_vcpu_hour": 0.02, "flex_memory_gb_hour": 0.002}
    settings = EmrSettings(flex=True, prices=prices)
    estimate = estimate_job(settings, "emr-serverless", ALL)
    assert not estimate.bound
    hour = load_prices(settings, "emr-serverless").hour
    billed = estimate.billed
    expected = billed.vcpu_hours * hour["vcpu_hour"] + billed.memory_gb_hours * hour["memory_gb_hour"]
    assert estimate.cost == pytest.approx(
        expected + billed.flex_vcpu_hours * 0.02 + billed.flex_memory_gb_hours * 0.002
    )
    assert "cost_usd" in cost_record(settings, "emr-serverless", billed)


@pytest.mark.parametrize(("text", "value"), [("true", True), ("false", False), (True, True)])
def test_the_setting_is_true_or_false(text: str | bool, value: bool):
    assert settings_from({"flex": text}).flex is value


@pytest.mark.parametrize("name", ["executors", "region"])
def test_no_other_setting_is(name: str):
    with pytest.raises(InputError, match=name):
        settings_from({name: True})


@pytest.mark.parametrize("spot", [True, False], ids=["there are spot instances", "there are none"])
def test_a_cluster_has_its_task_instances_on_spot_capacity_with_a_fallback(setup: Setup, stand_in: StandIn, spot: bool):
    stand_in.clusters.spot = spot
    with setup.engine("emr-cluster", flex=True, executors=3) as engine:
        assert setup.featurize(engine).featurized == PHOTOS
        details = engine.describe()
    (cluster,) = stand_in.clusters.clusters.values()
    fleets = {fleet["InstanceFleetType"]: fleet for fleet in cluster.request["Instances"]["InstanceFleets"]}
    assert {name: fleet["TargetSpotCapacity"] for name, fleet in fleets.items()} == {"MASTER": 0, "CORE": 0, "TASK": 2}
    assert fleets["TASK"]["LaunchSpecifications"]["SpotSpecification"]["TimeoutAction"] == "SWITCH_TO_ON_DEMAND"
    assert "ManagedScalingPolicy" not in cluster.request
    assert details["capacity"] == "spot"
    assert ("cost_usd_at_most" in details) is spot  # on-demand instances are billed at their price
    assert stand_in.settle() == []


def test_a_cluster_of_one_executor_has_no_spot_instance(setup: Setup, stand_in: StandIn):
    with setup.engine("emr-cluster", flex=True, executors=1) as engine:
        setup.featurize(engine)
    (cluster,) = stand_in.clusters.clusters.values()
    roles = [fleet["InstanceFleetType"] for fleet in cluster.request["Instances"]["InstanceFleets"]]
    assert roles == ["MASTER", "CORE"]


def test_the_bill_and_its_estimate_close_the_run(setup: Setup, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO", "fruits.emr")
    with setup.engine() as engine:
        setup.chain(engine)
        details = engine.describe()
    assert details["estimated_usd"] > 0
    assert "estimated 0.02, billed 0.01 US dollars" in caplog.text


def test_the_bill_can_have_a_line_per_job(setup: Setup, stand_in: StandIn):
    aws = Aws(setup.settings)
    assert "fruits emr init" in allocation_of(stand_in.serverless.application)
    stand_in.serverless.application["state"] = "STARTED"
    assert "STARTED" in allocate_by_job(aws, "00emr")
    stand_in.serverless.application["state"] = "STOPPED"
    stand_in.faults.deny["UpdateApplication"] = "not authorized"
    assert "emr-serverless:UpdateApplication is not allowed" in allocate_by_job(aws, "00emr")
    stand_in.faults.deny.clear()
    assert allocate_by_job(aws, "00emr") == "cost allocation: by job, switched on now"
    assert allocate_by_job(aws, "00emr") == allocation_of(stand_in.serverless.application) == "cost allocation: by job"
    assert stand_in.count("UpdateApplication") == 1


@whole_run
def test_executors_that_are_reclaimed_in_the_middle_of_a_shard_change_no_byte(
    setup: Setup, stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """On a real cluster of Spark whose executors are killed: the first attempt at each shard loses its executor, half
    of the attempts after its features were written, half before."""
    marks = str(tmp_path / "marks")

    def reclaimed(task, model):
        from pyspark import TaskContext

        seen = open_storage(marks)
        early = int(task.shard.id[:2], 16) % 2 == 0
        if early and not seen.exists(task.shard.id):
            seen.write(task.shard.id, b"")
            os.kill(executor_of(os.getppid()), signal.SIGKILL)
        report = featurize_shard(task, model)
        if not seen.exists(task.shard.id):
            seen.write(task.shard.id, b"")
            os.kill(executor_of(os.getppid()), signal.SIGKILL)
        assert TaskContext.get().attemptNumber() > 0
        return report

    with setup.engine(run="standard") as engine:
        _, expected = setup.chain(engine)
    standard = objects(setup.output)
    monkeypatch.setattr("engines.map_engine.featurize_shard", reclaimed)
    setup.output = f"{setup.output.rpartition('/')[0]}/reclaimed"
    conf = spare_capacity.spark_conf(EmrSettings(flex=True), TRIES)
    (tmp_path / "spark").mkdir()
    with spark_cluster(tmp_path / "spark") as master:
        stand_in.serverless.work = spark_jobs.serving(lambda _: SparkEngine(scheduler=master, settings=conf))
        with setup.engine(run="flex", flex=True) as engine:
            featurized, parts = setup.chain(engine)
    assert featurized.featurized == PHOTOS
    shards = {key.rpartition("-")[2] for key in standard if key.startswith("features/features/")}
    assert {item.key for item in open_storage(marks).list()} == {shard.removesuffix(".parquet") for shard in shards}
    assert parts == expected
    reclaimed_objects = objects(setup.output)
    for key, content in standard.items():
        if key.startswith(("features/features/", "features/results/")):
            assert reclaimed_objects[key.replace("features/", "reclaimed/", 1)] == content, key
