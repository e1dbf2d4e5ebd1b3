"""Sizes within what EMR has, and money that adds up."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from engines.emr.cost import Estimate, closing_line, cost_record, estimate_job, load_prices
from engines.emr.protocol import Billed, JobName
from engines.emr.settings import EmrSettings
from engines.emr.sizing import WORKER_MEMORY_GB, Work, size_for_job
from flows.cli import app

STAGES = ["featurize", "fit_pca", "project"]


README = Path(__file__).resolve().parents[2] / "deployments" / "README.md"


def all_of(images: int, shards: int) -> dict[str, Work]:
    """A whole run."""
    return dict.fromkeys(STAGES, Work(images, shards))


@pytest.mark.parametrize("images", [1, 500, 90_483, 10_000_000])
@pytest.mark.parametrize("stage", STAGES)
def test_executors_grow_with_the_images_up_to_the_cap(stage: str, images: int):
    settings = EmrSettings(max_executors=20)
    size = size_for_job(settings, {stage: Work(images, max(1, images // 512))})
    more = size_for_job(settings, {stage: Work(images * 10, max(1, images * 10 // 512))})
    assert 1 <= size.executors <= more.executors <= 20


def test_no_more_cores_than_shards():
    assert size_for_job(EmrSettings(images_per_vcpu_second=0.001), {"featurize": Work(10_000, 3)}).executors == 1


def test_a_job_is_as_large_as_the_stage_that_needs_most():
    """A run that finds most of its features done has all of its images to project nevertheless."""
    few, many = Work(512, 1), Work(10_000_000, 20_000)
    job = size_for_job(EmrSettings(), {"featurize": few, "fit_pca": many, "project": many})
    assert job == size_for_job(EmrSettings(), {"project": many})


@pytest.mark.parametrize("cores", WORKER_MEMORY_GB)
def test_spark_s_memory_is_the_worker_s_whole_memory(cores: int):
    least = WORKER_MEMORY_GB[cores][0]
    settings = EmrSettings(executor_cores=cores, executor_memory_gb=least)
    conf = size_for_job(settings, all_of(1, 1)).spark_conf()
    parts = [conf["spark.executor.memory"], conf["spark.executor.memoryOverhead"]]
    assert sum(int(part.removesuffix("g")) for part in parts) == least


def test_the_estimate_of_all_of_fruits_360_is_what_the_readme_says():
    work = all_of(90_483, 177)
    serverless = estimate_job(EmrSettings(), "emr-serverless", work)
    cluster = estimate_job(EmrSettings(), "emr-cluster", work)
    readme = README.read_text()
    assert (
        f"*Estimate: {serverless.billed.vcpu_hours:.1f} vCPU hours, {serverless.minutes:.0f} minutes, "
        f"{serverless.cost:.2f} dollars; reading S3 adds 0.04.*"
    ) in readme
    assert (
        f"*Estimate for 90,483 images: {cluster.billed.instance_hours:.1f} instance hours of\nm6i.xlarge, "
        f"{cluster.minutes:.0f} minutes, {cluster.cost:.2f} dollars.*"
    ) in readme


def a_job_for_each_stage(work: dict[str, Work]) -> list[Estimate]:
    """What the same run would take with the listing and each stage as a job of its own."""
    listing = {"featurize": Work(0, 1)}  # starts, and ends at once
    jobs = [listing, *({stage: todo} for stage, todo in work.items())]
    return [estimate_job(EmrSettings(), "emr-serverless", job) for job in jobs]


def test_one_job_against_four_is_what_the_readme_says():
    work = all_of(90_483, 177)
    readme = README.read_text()
    runs = {
        "a job for each stage": a_job_for_each_stage(work),
        "one job": [estimate_job(EmrSettings(), "emr-serverless", work)],
    }
    for name, jobs in runs.items():
        minutes, hours = sum(job.minutes for job in jobs), sum(job.billed.vcpu_hours for job in jobs)
        cost = sum(job.cost or 0 for job in jobs)
        assert f"| {name} | {len(jobs)} | {minutes:.0f} | {hours:.1f} | {cost:.2f} |" in readme


def test_the_command_says_it_without_an_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["emr", "estimate", "90483"])
    assert done.exit_code == 0, done.output
    for engine, workers in (("emr-serverless", "2 executors of 4 vCPU"), ("emr-cluster", "3 m6i.xlarge")):
        assert f"{workers}, {estimate_job(EmrSettings(), engine, all_of(90_483, 177))}" in done.output
    spare = CliRunner().invoke(app, ["emr", "estimate", "90483", "--emr", "flex=true"])
    assert "no price of spare capacity known" in spare.output


def test_the_estimate_of_the_readme_s_trial_is_what_it_says():
    """Three images of each of 131 classes."""
    cents = round(100 * (estimate_job(EmrSettings(), "emr-serverless", all_of(393, 1)).cost or 0))
    assert f"*About {cents} cents: mostly starting the workers.*" in README.read_text()


def test_cost_is_hours_times_prices():
    prices = {"vcpu_hour": 2.0, "memory_gb_hour": 3.0, "storage_gb_hour": 5.0}
    settings = EmrSettings(region="elsewhere", prices=prices)
    record = cost_record(settings, "emr-serverless", Billed(7.0, 11.0, 13.0))
    assert record["cost_usd"] == 7 * 2 + 11 * 3 + 13 * 5
    assert load_prices(settings, "emr-serverless").hour == prices


@pytest.mark.parametrize(
    ("record", "line"),
    [
        ({"estimated_usd": 0.0379, "cost_usd": 0.0312}, "estimated 0.04, billed 0.03 US dollars"),
        ({"estimated_usd": 0.04, "cost_usd_at_most": 0.03}, "estimated 0.04, billed at most 0.03 US dollars"),
        ({"estimated_usd": 0.04, "billed": "not yet"}, "estimated 0.04 US dollars; the bill is not known yet"),
        ({"cost_usd": 0.001}, "billed less than 0.01 US dollars"),  # of a job that an earlier process started
        ({"cost_usd": 0.0}, "billed 0.00 US dollars"),
        ({"cost_usd": "no price known"}, ""),
        ({}, ""),
    ],
)
def test_a_run_ends_with_its_estimate_against_its_bill(record: dict[str, float | str], line: str):
    assert closing_line(record) == line


def test_an_unknown_price_is_said():
    assert cost_record(EmrSettings(region="elsewhere"), "emr-serverless", Billed(1.0))["cost_usd"] == "no price known"


def test_a_name_says_run_attempt_and_output():
    name = JobName("0f-1a", 2, "00ff")
    assert JobName.parse(str(name)) == name
    assert JobName.parse("fruit-features/0f-1a/fit_pca/2/00ff") == name  # of version 0.1.0, which may still run
    assert JobName.parse("somebody-else/0f/0/00ff") is None
    assert len({JobName("a", 0, "0").token, JobName("a", 1, "0").token}) == 2
    assert len(name.token) <= 64
