"""A Dask cluster of other machines: scheduler and workers from a wheel, in an environment of their own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.prefect_kit import wait_for
from tests.wheel.conftest import Installed, install

pytestmark = pytest.mark.timeout(1800)


@contextlib.contextmanager
def started(installed: Installed, log: Path, *command: str) -> Iterator[None]:
    """A program of the environment, running in the background, in a folder without the source tree."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_"))}
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [str(installed.environment / "bin" / command[0]), *command[1:]],
            cwd=installed.folder, env=kept, stdout=sink, stderr=sink, process_group=0,
        )  # fmt: skip
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def test_workers_without_tensorflow_prefect_and_source_tree_write_what_a_laptop_writes(
    wheel: Path, tmp_path: Path
) -> None:
    (tmp_path / "flow").mkdir()
    (tmp_path / "worker").mkdir()
    flow = install(wheel, "dask,flows,tensorflow", "3.11", tmp_path / "flow")
    worker = install(wheel, "dask", "3.11", tmp_path / "worker")
    absent = "import importlib.util as u; print([name for name in ('tensorflow', 'prefect') if u.find_spec(name)])"
    assert worker.call("python", "-P", "-c", absent).stdout.strip() == "[]"

    photos = tmp_path / "photos"
    assert flow.call("fruits", "sample", photos, "--images", "120", "--classes", "6").returncode == 0
    options = ("--weights", "random", "--components", "8", "--shard-size", "16")
    cache = {"FRUITS_CACHE": str(tmp_path / "cache")}
    log = tmp_path / "scheduler.log"
    with started(worker, log, "dask", "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"):
        found = wait_for(
            lambda: re.search(r"Scheduler at:\s+(tcp://127\.0\.0\.1:\d+)", log.read_text()), 60, f"no scheduler: {log}"
        )
        address = found[1]
        workers = ("dask", "worker", address, "--nworkers", "2", "--nthreads", "1", "--no-dashboard")
        with started(worker, tmp_path / "worker.log", *workers):
            done = flow.call("fruits", "run", photos, tmp_path / "there", *options, "--scheduler", address, **cache)
    assert done.returncode == 0, done.stdout + done.stderr + (tmp_path / "worker.log").read_text()
    here = flow.call("fruits", "run", photos, tmp_path / "here", *options, "--workers", "1", **cache)
    assert here.returncode == 0, here.stdout + here.stderr

    records = [json.loads((tmp_path / name / "run.json").read_text()) for name in ("there", "here")]
    assert [record["counts"]["projected"] for record in records] == [120, 120]
    assert "Registered to" in (tmp_path / "worker.log").read_text()
    parts = [
        sorted(
            (path.relative_to(tmp_path / name), path.read_bytes())
            for path in (tmp_path / name / "results").rglob("*.parquet")
        )
        for name in ("there", "here")
    ]
    assert parts[0] == parts[1]
    assert parts[0]
