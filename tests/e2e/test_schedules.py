"""A schedule makes runs that complete, and deploying keeps what a person switched."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.prefect_kit import PROJECT, PrefectKit, wait_for

pytestmark = pytest.mark.timeout(400)

LAPTOP = "fruit-features/laptop"


@pytest.fixture
def laptop(prefect: PrefectKit) -> Iterator[dict[str, Any]]:
    """The deployment `laptop`; what a test changed of it is as it was afterwards."""
    found: dict[str, Any] = prefect.api(f"/deployments/name/{LAPTOP}")
    yield found
    for schedule in prefect.api(f"/deployments/{found['id']}")["schedules"]:
        prefect.api(f"/deployments/{found['id']}/schedules/{schedule['id']}", method="DELETE")
    prefect.api(f"/deployments/{found['id']}", {"parameters": found["parameters"], "paused": False}, method="PATCH")


def test_a_schedule_of_one_minute_makes_a_run_that_completes_and_its_events_arrive(
    prefect: PrefectKit, laptop: dict[str, Any], few_photos: Path, weights: str, tmp_path: Path
) -> None:
    parameters = laptop["parameters"] | {
        "source": str(few_photos), "output": str(tmp_path / "output"), "weights": weights, "components": 8,
        "max_rejects": 0.05,
    }  # fmt: skip
    prefect.api(f"/deployments/{laptop['id']}", {"parameters": parameters}, method="PATCH")
    created = prefect.prefect("deployment", "schedule", "create", LAPTOP, "--cron", "* * * * *")
    assert created.returncode == 0, created.stdout + created.stderr

    def completed() -> list[dict[str, Any]]:
        scheduled = {"tags": {"all_": ["auto-scheduled"]}, "state": {"type": {"any_": ["COMPLETED"]}}}
        found: list[dict[str, Any]] = prefect.api(
            "/flow_runs/filter", {"flow_runs": scheduled, "deployments": {"id": {"any_": [laptop["id"]]}}}
        )
        return found

    run = wait_for(completed, 180, f"no scheduled run completes; see {prefect.home}/server.log")[0]
    assert run["state"]["message"].startswith("60 images in 8 dimensions")

    def events() -> set[str]:
        related = {"resource": {"id": [f"prefect.flow-run.{run['id']}"]}}
        return {event["event"] for event in prefect.api("/events/filter", {"filter": related})["events"]}

    wait_for(
        lambda: {"prefect.flow-run.Running", "prefect.flow-run.Completed"} <= events(), 30, "its events are missing"
    )
    log = (prefect.home / "server.log").read_text()
    assert "InvalidRequestError" not in log


def test_deploying_keeps_a_schedule_and_whether_it_is_active(prefect: PrefectKit, laptop: dict[str, Any]) -> None:
    def schedules() -> list[tuple[str, bool, str]]:
        found = prefect.api(f"/deployments/{laptop['id']}")["schedules"]
        return sorted((one["schedule"]["cron"], one["active"], one["parameters"]["source"]) for one in found)

    # As Prefect's page does: the schedule has the photos it is for.
    wanted = [("0 3 * * *", True, "/photos/a"), ("0 4 * * *", False, "/photos/b")]
    for cron, active, source in wanted:
        schedule = {"schedule": {"cron": cron}, "active": active, "parameters": {"source": source, "output": "/output"}}
        prefect.api(f"/deployments/{laptop['id']}/schedules", [schedule])
    prefect.api(f"/deployments/{laptop['id']}", {"paused": True}, method="PATCH")
    for _ in range(2):
        deployed = subprocess.run(
            [sys.executable, "-m", "deployments.deploy"],
            cwd=PROJECT, env=prefect.environment, capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
        assert deployed.returncode == 0, deployed.stdout + deployed.stderr
        assert "deployed fruit-features/laptop\n" in deployed.stdout
        assert schedules() == wanted
        assert prefect.api(f"/deployments/{laptop['id']}")["paused"] is True
