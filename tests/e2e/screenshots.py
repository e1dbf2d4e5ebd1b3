"""Pictures of Prefect's page during and after a run: `make screenshots`, or `python -m tests.e2e.screenshots FOLDER`.

Needs Chromium (Debian, Ubuntu: apt-get install chromium; else CHROMIUM=/path/to/it), and takes about two minutes.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tests.conftest import TEST_WEIGHTS, write_photos
from tests.e2e.prefect_kit import POOL, PrefectKit, wait_for

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def main(target: Path) -> None:
    """Start a server and a worker, run, and take the pictures."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    chromium = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if chromium is None or not Path(chromium).is_file():
        sys.exit(
            f"Chromium was not found{f' at {chromium}' if chromium else ''}."
            " Debian, Ubuntu: apt-get install chromium; else CHROMIUM=/path/to/it"
        )
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        kit = PrefectKit(Path(scratch, "prefect"))
        try:
            kit.start_server()
            kit.prefect("work-pool", "create", POOL, "--type", "process")
            deployed = kit.prefect("--no-prompt", "deploy", "--all")
            assert deployed.returncode == 0, deployed.stdout + deployed.stderr
            kit.start_worker()
            with sync_playwright() as playwright:
                # A new profile each time.
                browser = playwright.chromium.launch(executable_path=chromium, headless=True, args=ARGUMENTS)
                page = browser.new_page(viewport={"width": 1400, "height": 1000}, locale="en-US")
                _take(kit, page, Path(scratch), target)
                browser.close()
        finally:
            kit.close()


def _take(kit: PrefectKit, page: Page, scratch: Path, target: Path) -> None:
    photos = write_photos(scratch / "photos", images=600, classes=10)
    for number, whole in enumerate(sorted(photos.rglob("*.jpg"))[:3]):
        whole.with_name(f"cut-short-{number}.jpg").write_bytes(whole.read_bytes()[:500])
    parameters = {
        "source": str(photos),
        "output": str(scratch / "features"),
        "weights": str(TEST_WEIGHTS) if TEST_WEIGHTS.is_file() else "random",
        "components": 16,
        "shard_size": 32,
    }

    def shoot(name: str, path: str, *, until: str, tab: str = "") -> None:
        page.goto(kit.page + path)
        if tab:
            page.get_by_text(tab, exact=True).first.click()
        page.get_by_text(until).first.wait_for(timeout=60_000)
        page.wait_for_timeout(2_000)  # what is drawn later: graphs, tables
        page.screenshot(path=target / f"{name}.png")

    laptop = kit.api("/deployments/name/fruit-features/laptop")["id"]
    shoot("1-deployments", "/deployments", until="production")
    page.goto(f"{kit.page}/deployments/deployment/{laptop}/run")
    page.get_by_text("max_rejects").first.wait_for(timeout=60_000)
    page.set_viewport_size({"width": 1400, "height": 2200})
    page.wait_for_timeout(1_500)
    page.screenshot(path=target / "2-form.png")
    page.set_viewport_size({"width": 1400, "height": 1000})
    run = kit.run("fruit-features/laptop", **parameters)
    wait_for(lambda: "featurize-progress" in kit.artifacts(run), 120, kit.log(run))
    wait_for(lambda: (kit.artifacts(run)["featurize-progress"]["data"] or 0) > 10, 120, kit.log(run))
    shoot("3-running-artifacts", f"/runs/flow-run/{run}", tab="Artifacts", until="featurize-progress")
    assert kit.wait(run)["state_type"] == "COMPLETED", kit.log(run)
    wait_for(lambda: len(kit.task_names(run)) == 6, 30, "task runs are missing")
    shoot("4-finished", f"/runs/flow-run/{run}", until="publish")
    shoot("5-task-runs", f"/runs/flow-run/{run}", tab="Task Runs", until="publish")
    shoot("6-artifacts", f"/runs/flow-run/{run}", tab="Artifacts", until="summary")
    artifacts = kit.artifacts(run)
    shoot("7-summary", f"/artifacts/artifact/{artifacts['summary']['id']}", until="dimensions")
    shoot("8-time-per-stage", f"/artifacts/artifact/{artifacts['time-per-stage']['id']}", until="together")
    check = kit.run("recheck/nightly", output=parameters["output"], images=200)
    kit.wait(check)
    shoot("9-recheck", f"/artifacts/artifact/{kit.artifacts(check)['recheck']['id']}", until="bit for bit")
    failed = kit.run("fruit-features/laptop", **{**parameters, "max_rejects": 0.001})
    assert kit.wait(failed)["state_type"] == "FAILED"
    shoot("10-failed", f"/runs/flow-run/{failed}", tab="Details", until="rejected, more than")
    shoot("11-runs", "/runs", until="fruit-features")
    created = kit.prefect("deployment", "schedule", "create", "fruit-features/laptop", "--cron", "* * * * *")
    assert created.returncode == 0, created.stderr
    shoot("12-schedule", f"/deployments/deployment/{laptop}", until="Schedules")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "screenshots"))
