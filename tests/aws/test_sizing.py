"""Sizes within what EMR has, and money that adds up."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines.emr.cost import cost_record, estimate_stages, load_prices
from engines.emr.protocol import Billed, JobName
from engines.emr.settings import EmrSettings
from engines.emr.sizing import WORKER_MEMORY_GB, size_for

STAGES = ["index", "featurize", "fit_pca", "project"]


@pytest.mark.parametrize("images", [1, 500, 90_483, 10_000_000])
@pytest.mark.parametrize("stage", STAGES)
def test_executors_grow_with_the_images_up_to_the_cap(stage: str, images: int):
    settings = EmrSettings(max_executors=20)
    size = size_for(settings, stage, images, max(1, images // 512))
    more = size_for(settings, stage, images * 10, max(1, images * 10 // 512))
    assert 1 <= size.executors <= more.executors <= 20


def test_no_more_cores_than_shards():
    assert size_for(EmrSettings(images_per_vcpu_second=0.001), "featurize", 10_000, 3).executors == 1


@pytest.mark.parametrize("cores", WORKER_MEMORY_GB)
def test_spark_s_memory_is_the_worker_s_whole_memory(cores: int):
    least = WORKER_MEMORY_GB[cores][0]
    conf = size_for(EmrSettings(executor_cores=cores, executor_memory_gb=least), "featurize", 1, 1).spark_conf()
    parts = [conf["spark.executor.memory"], conf["spark.executor.memoryOverhead"]]
    assert sum(int(part.removesuffix("g")) for part in parts) == least


def test_the_estimate_of_all_of_fruits_360_is_what_the_readme_says():
    estimate = estimate_stages(EmrSettings(), "emr-serverless", STAGES, 90_483, 177)
    assert (round(estimate.billed.vcpu_hours, 1), round(estimate.minutes), round(estimate.cost or 0, 2)) == (
        1.9,
        15,
        0.13,
    )
    cluster = estimate_stages(EmrSettings(), "emr-cluster", STAGES, 90_483, 177)
    assert (round(cluster.billed.instance_hours, 1), round(cluster.minutes), round(cluster.cost or 0, 2)) == (
        1.1,
        23,
        0.27,
    )


def test_the_estimate_of_the_readme_s_trial_is_what_it_says():
    """Three images of each of 131 classes."""
    index = estimate_stages(EmrSettings(), "emr-serverless", STAGES[:1], 0, 0)
    rest = estimate_stages(EmrSettings(), "emr-serverless", STAGES[1:], 393, 1)
    cents = round(100 * ((index.cost or 0) + (rest.cost or 0)))
    readme = (Path(__file__).resolve().parents[2] / "deployments" / "README.md").read_text()
    assert f"*About {cents} cents: starting the workers four times.*" in readme


def test_cost_is_hours_times_prices():
    prices = {"vcpu_hour": 2.0, "memory_gb_hour": 3.0, "storage_gb_hour": 5.0}
    settings = EmrSettings(region="elsewhere", prices=prices)
    record = cost_record(settings, "emr-serverless", Billed(7.0, 11.0, 13.0))
    assert record["cost_usd"] == 7 * 2 + 11 * 3 + 13 * 5
    assert load_prices(settings, "emr-serverless").hour == prices


def test_an_unknown_price_is_said():
    assert cost_record(EmrSettings(region="elsewhere"), "emr-serverless", Billed(1.0))["cost_usd"] == "no price known"


def test_a_name_says_run_stage_attempt_and_output():
    name = JobName("0f-1a", "fit_pca", 2, "00ff")
    assert JobName.parse(str(name)) == name
    assert JobName.parse("somebody-else/0f/index/0/00ff") is None
    assert len({JobName("a", "index", 0, "0").token, JobName("a", "index", 1, "0").token}) == 2
    assert len(name.token) <= 64
