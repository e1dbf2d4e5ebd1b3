"""`python -m deployments.automations`: what Prefect then does by itself, on a real server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.e2e.prefect_kit import PROJECT, PrefectKit, flow_process, wait_for
from tests.e2e.test_interruptions import featurizing, start

pytestmark = pytest.mark.timeout(600)

HEARTBEAT = 30
BLOCK = """
from prefect.blocks.notifications import CustomWebhookNotificationBlock
CustomWebhookNotificationBlock.register_type_and_schema()
CustomWebhookNotificationBlock(
    name="test", url="{url}", json_data={{"subject": "{{{{subject}}}}", "body": "{{{{body}}}}"}}
).save("ops", overwrite=True)
"""


def run_python(kit: PrefectKit, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=PROJECT, env=kit.environment, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def told() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """The address of a place that takes messages, and what it was told."""
    messages: list[dict[str, str]] = []

    class Listener(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Listener)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", messages
    server.shutdown()


@pytest.fixture
def automated(
    prefect: PrefectKit, told: tuple[str, list[dict[str, str]]]
) -> Iterator[tuple[PrefectKit, list[dict[str, str]]]]:
    """Automations with short times, a block for their messages, and a worker whose runs send heartbeats often."""
    made = run_python(prefect, "-c", BLOCK.format(url=told[0]))
    assert made.returncode == 0, made.stderr
    applied = run_python(
        prefect, "-m", "deployments.automations", "--notify", "custom-webhook/ops",
        "--heartbeat-seconds", str(HEARTBEAT), "--late-minutes", "0.2",
    )  # fmt: skip
    assert applied.returncode == 0, applied.stderr
    told[1].clear()
    yield prefect, told[1]
    for automation in prefect.api("/automations/filter", {}):
        prefect.api(f"/automations/{automation['id']}", method="DELETE")


def test_it_is_applied_again_at_any_time_and_what_was_paused_stays_paused(
    automated: tuple[PrefectKit, list[dict[str, str]]],
) -> None:
    prefect, _ = automated
    names = {one["name"]: one["id"] for one in prefect.api("/automations/filter", {})}
    assert len(names) == 5
    again = ("-m", "deployments.automations", "--notify", "custom-webhook/ops", "--heartbeat-seconds", str(HEARTBEAT))
    same = run_python(prefect, *again, "--late-minutes", "0.2")
    assert same.stdout.count("unchanged") == 5, same.stdout
    prefect.api(f"/automations/{names['fruits: a run failed']}", {"enabled": False}, method="PATCH")
    other = run_python(prefect, *again, "--late-minutes", "5")
    assert "updated    fruits: a run has not begun in time" in other.stdout
    found = {one["name"]: one for one in prefect.api("/automations/filter", {})}
    assert {name: one["id"] for name, one in found.items()} == names
    assert found["fruits: a run failed"]["enabled"] is False
    assert found["fruits: a run has not begun in time"]["trigger"]["within"] == 300
    listed = prefect.prefect("automation", "ls").stdout
    assert listed.count("fruits:") == 5, listed


@pytest.mark.parametrize(
    ("block", "message"),
    [("slack-webhook/nowhere", "there is no block slack-webhook/nowhere"), ("emr-settings/quiet", "sends no messages")],
)
def test_a_block_that_cannot_be_told_is_refused(prefect: PrefectKit, block: str, message: str) -> None:
    quiet = "from flows.runtime.emr_block import EmrSettingsBlock as B; B.register_type_and_schema(); B().save('quiet')"
    assert run_python(prefect, "-c", quiet.replace("save('quiet')", "save('quiet', overwrite=True)")).returncode == 0
    refused = run_python(prefect, "-m", "deployments.automations", "--notify", block)
    assert refused.returncode == 2
    assert message in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_failed_run_is_told(automated: tuple[PrefectKit, list[dict[str, str]]], tmp_path: Path) -> None:
    prefect, messages = automated
    run = prefect.run("fruit-features/laptop", source="/no/such/photos", output=str(tmp_path / "output"))
    assert prefect.wait(run)["state_type"] == "FAILED"
    told = wait_for(lambda: messages, 60, f"nothing is told; see {prefect.home}/server.log")[0]
    assert told["subject"] == "fruits: photos on dask is Failed"
    assert told["body"].startswith("the source /no/such/photos does not exist")
    assert run in told["body"]


def test_a_late_run_is_told(automated: tuple[PrefectKit, list[dict[str, str]]], tmp_path: Path) -> None:
    prefect, messages = automated
    prefect.stop("worker")
    run = prefect.run("fruit-features/laptop", source="/photos", output=str(tmp_path / "output"))
    try:
        told = wait_for(lambda: messages, 120, f"nothing is told; see {prefect.home}/server.log")[0]
        assert told["subject"].endswith(" is late")
        assert run in told["body"]
    finally:
        prefect.api(f"/flow_runs/{run}", method="DELETE")


def test_a_run_that_died_with_its_worker_is_crashed_and_cleaned_up(
    automated: tuple[PrefectKit, list[dict[str, str]]], photos_for_a_minute: Path, weights: str, tmp_path: Path
) -> None:
    prefect, messages = automated
    prefect.stop("worker")
    prefect.extra = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT)}
    try:
        prefect.start_worker()
        output = tmp_path / "output"
        run = featurizing(prefect, start(prefect, photos_for_a_minute, weights, output), output)
        # As when the machine goes down: the worker first, so that nobody reports the run.
        prefect.stop("worker", signal.SIGKILL)
        os.kill(flow_process(run), signal.SIGKILL)
    finally:
        prefect.extra = {}
    found = prefect.wait(run, 240)
    assert found["state_type"] == "CRASHED"
    assert found["state"]["message"] == f"no heartbeat for {3 * HEARTBEAT} s"
    wait_for(lambda: any(one["subject"].endswith(" is Crashed") for one in messages), 60, "the crash is not told")
    # The machine is back, or another one is there.
    prefect.start_worker()

    def cleaned() -> list[str]:
        runs = prefect.api("/flow_runs/filter", {"flows": {"name": {"any_": ["clean-up"]}}})
        return [one["state"]["message"] for one in runs if one["parameters"] == {"run": run} and one["state"]]

    wait_for(lambda: cleaned() == [f"what {found['name']} had on EMR is stopped"], 120, f"not cleaned up: {cleaned()}")


def test_what_production_published_is_checked(
    automated: tuple[PrefectKit, list[dict[str, str]]], few_photos: Path, weights: str, tmp_path: Path
) -> None:
    prefect, _ = automated
    output = tmp_path / "output"
    run = prefect.run(
        "fruit-features/production",
        source=str(few_photos), output=str(output), engine="dask", emr=None, weights=weights, components=8,
        max_rejects=0.05,
    )  # fmt: skip
    assert prefect.wait(run)["state_type"] == "COMPLETED", prefect.log(run)

    def checks() -> dict[str, str] | None:
        runs = prefect.api("/flow_runs/filter", {"sort": "START_TIME_DESC", "limit": 20})
        found = {one["name"].split()[0]: one["id"] for one in runs if one["parameters"].get("output") == str(output)}
        return found if {"recheck", "check"} <= found.keys() else None

    found = wait_for(checks, 90, "it is not checked in both ways")
    rechecked = prefect.wait(found["recheck"])
    assert rechecked["state_type"] == "COMPLETED", prefect.log(found["recheck"])
    assert rechecked["state"]["message"].startswith("all 60 images")
    checked = prefect.wait(found["check"])
    assert checked["state_type"] == "COMPLETED", prefect.log(found["check"])
    assert checked["state"]["message"].startswith("the vote of 10 neighbours is right for ")
