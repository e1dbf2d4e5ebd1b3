"""`fruits check` on EMR: the nearest rows are found by a job, and are those of this machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from flows.chain import run_chain
from flows.quality import run_check
from tests.aws.conftest import PHOTOS, Setup, objects, whole_run
from tests.aws.jobs import both, jobs_started
from tests.aws.spark_jobs import need_spark
from tests.aws.stand_in import StandIn
from tests.s3 import Aws

RELEASE = "emr-7.13.0"


def test_its_work_is_one_job_and_its_tables_are_those_of_this_machine(
    setup: Setup, stand_in: StandIn, aws: Aws, weights: str
) -> None:
    check_on("emr-serverless", setup, aws, weights)
    assert jobs_started(stand_in) == 1
    assert stand_in.settle() == []


@whole_run
@pytest.mark.timeout(600)
@both
def test_on_real_spark_its_tables_are_those_of_this_machine(
    make_setup: Callable[[Path], Setup],
    archive: Path,
    stand_in: StandIn,
    aws: Aws,
    weights: str,
    tmp_path: Path,
    name: str,
) -> None:
    need_spark(RELEASE)
    folder = str(tmp_path / "fruit-features")
    check_on(name, make_setup(archive), aws, weights, unpack_folder=folder, release_label=RELEASE)
    assert jobs_started(stand_in) == 1
    assert stand_in.settle() == []


def check_on(name: str, setup: Setup, aws: Aws, weights: str, **changes: Any) -> None:
    """Check one run here and on an EMR engine, in outputs of their own, and compare every table."""
    run_chain(setup.source, setup.output, engine="dask", workers=1, weights=weights, components=8, shard_size=6)
    copy = f"s3://{aws.new_bucket()}/features"
    below = len(setup.output.removeprefix("s3://").partition("/")[2]) + 1
    aws.put(copy.split("/")[2], {f"features/{key[below:]}": content for key, content in objects(setup.output).items()})
    ours = run_check(copy, engine="dask", workers=1)
    settings = {key: value for key, value in asdict(setup.settings).items() if value not in (None, "")}
    theirs = run_check(setup.output, engine=name, emr={**settings, **changes})
    assert theirs.rows == PHOTOS
    assert tables_of_check(setup.output) == tables_of_check(copy)
    assert (theirs.accuracy, theirs.issues) == (ours.accuracy, ours.issues)


def tables_of_check(output: str) -> dict[str, bytes]:
    """What is below checks/, but for the figures, which say where and when they were made."""
    found = {key.partition("/checks/")[2]: content for key, content in objects(output).items() if "/checks/" in key}
    assert found, "no check was written"
    return {key: content for key, content in found.items() if not key.endswith(".json")}
