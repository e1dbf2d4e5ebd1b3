"""The deployment for EMR Serverless, on the stand-in for AWS, with everything it needs in blocks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from engines.core.output import read_record
from tests.aws import spark_jobs
from tests.aws.conftest import (  # noqa: F401 - fixtures
    PHOTOS,
    Setup,
    make_setup,
    places,
    roles,
    setup,
    small_archive,
    stand_in,
)
from tests.aws.stand_in import StandIn
from tests.e2e.prefect_kit import PROJECT, PrefectKit, flow_process, wait_for
from tests.s3 import Aws

pytestmark = pytest.mark.timeout(400)

SECRET = "secret-of-the-block-" + "b" * 20


def register_blocks(kit: PrefectKit, settings: dict[str, object]) -> str:
    """Run the command a person runs; what it says."""
    options = [word for name, value in settings.items() for word in ("--emr", f"{name}={value}")]
    done = subprocess.run(
        [sys.executable, "-m", "deployments.blocks", *options],
        cwd=PROJECT,
        env={**kit.environment, "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": SECRET},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def settings_of(setup: Setup) -> dict[str, object]:  # noqa: F811
    return {name: value for name, value in asdict(setup.settings).items() if value not in (None, "")}


@pytest.fixture
def production(
    deployed: PrefectKit,
    setup: Setup,  # noqa: F811
    stand_in: StandIn,  # noqa: F811
) -> Iterator[PrefectKit]:
    """Blocks with the settings, and a worker that has no settings and no credentials of its own."""
    said = register_blocks(deployed, settings_of(setup))
    assert said.count("/fruits: ") == 3
    assert SECRET not in said
    if "server" not in deployed.processes:
        deployed.start_server()
    if "worker" in deployed.processes:
        deployed.stop("worker")
    deployed.hidden = ("FRUITS_EMR_", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    deployed.start_worker()
    yield deployed
    deployed.hidden = ()
    # The next tests' worker does not know this one's AWS.
    deployed.stop("worker")


def test_a_run_on_emr_serverless_completes_with_settings_and_credentials_from_blocks(
    production: PrefectKit,
    setup: Setup,  # noqa: F811
    stand_in: StandIn,  # noqa: F811
    weights: str,
) -> None:
    register_blocks(production, settings_of(setup))  # a second time: they are updated
    run = production.run(
        "fruit-features/production",
        source=setup.source, output=setup.output, weights=weights, components=8, shard_size=6,
    )  # fmt: skip
    found = production.wait(run)
    assert found["state_type"] == "COMPLETED", production.log(run)
    assert found["name"].endswith(" on emr-serverless")
    assert [name for name, _ in stand_in.calls].count("StartJobRun") == 1
    summary = production.artifacts(run)["summary"]["data"]
    assert f"| projected | {PHOTOS} |" in summary
    assert "**Cost** estimated 0." in summary
    assert "https://console.aws.amazon.com/s3/object/" in summary
    assert SECRET not in production.log(run)
    assert read_record(setup.output).counts.projected == PHOTOS


def test_published_results_on_s3_are_checked_with_the_credentials_of_the_block(
    production: PrefectKit,
    finished: tuple[str, Path, str],
    aws: Aws,
    bucket: str,
) -> None:
    output = finished[1]
    aws.put(bucket, {f"out/{path.relative_to(output)}": path.read_bytes() for path in output.rglob("*.*")})
    checked = production.run("recheck/nightly", output=f"s3://{bucket}/out", images=25)
    without = production.run("recheck/nightly", output=f"s3://{bucket}/out", images=25, credentials=None)
    found = production.wait(checked)
    assert found["state"]["message"] == "all 25 images are the same bit for bit", production.log(checked)
    assert SECRET not in production.log(checked)
    found = production.wait(without)
    assert found["state_type"] == "FAILED"
    assert "credentials" in found["state"]["message"]


def test_cancelling_stops_the_job(
    production: PrefectKit,
    setup: Setup,  # noqa: F811
    stand_in: StandIn,  # noqa: F811
    weights: str,
) -> None:
    stand_in.serverless.work = spark_jobs.hang
    run = production.run(
        "fruit-features/production",
        source=setup.source, output=setup.output, weights=weights, components=8, shard_size=6,
    )  # fmt: skip

    def called(operation: str) -> bool:
        return operation in [name for name, _ in stand_in.calls]

    wait_for(lambda: called("StartJobRun"), 120, production.log(run))
    production.api(f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING", "name": "Cancelling"}})
    wait_for(lambda: called("CancelJobRun"), 30, production.log(run))
    assert production.wait(run)["state_type"] == "CANCELLED"


def test_what_a_run_that_died_with_its_worker_left_on_emr_is_stopped_by_clean_up(
    production: PrefectKit,
    setup: Setup,  # noqa: F811
    stand_in: StandIn,  # noqa: F811
    weights: str,
) -> None:
    stand_in.serverless.work = spark_jobs.hang
    run = production.run(
        "fruit-features/production",
        source=setup.source, output=setup.output, weights=weights, components=8, shard_size=6,
    )  # fmt: skip

    def called(operation: str) -> bool:
        return operation in [name for name, _ in stand_in.calls]

    wait_for(lambda: called("StartJobRun"), 120, production.log(run))
    production.stop("worker", signal.SIGKILL)
    os.kill(flow_process(run), signal.SIGKILL)
    production.start_worker()
    early = production.run("clean-up/on-this-pool", run=run)
    assert "has not ended: nothing was stopped" in production.wait(early)["state"]["message"]
    assert not called("CancelJobRun")
    # As the automation on missing heartbeats does.
    production.api(f"/flow_runs/{run}/set_state", {"state": {"type": "CRASHED", "name": "Crashed"}})
    late = production.run("clean-up/on-this-pool", run=run)
    assert production.wait(late)["state_type"] == "COMPLETED", production.log(late)
    assert called("CancelJobRun")
    # In the log of the dead run, where a person looks; logs arrive a moment later.
    wait_for(lambda: "stopped on EMR: " in production.log(run), 30, f"not said: {production.log(late)}")


def test_clean_up_of_a_run_that_is_not_there_fails_with_the_reason(production: PrefectKit) -> None:
    unknown = "00000000-0000-4000-8000-000000000000"
    for run, reason in ((unknown, f"there is no flow run {unknown}"), ("x", "'x' is not the id of a flow run")):
        found = production.wait(production.run("clean-up/on-this-pool", run=run))
        assert (found["state_type"], found["state"]["message"]) == ("FAILED", reason)
