"""A server, a worker and the deployments, once for all end-to-end tests."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import write_photos
from tests.e2e.prefect_kit import POOL, PrefectKit

pytest.importorskip("prefect", reason="prefect is not installed: fruit-features[flows]")
if not sys.platform.startswith("linux"):
    pytest.skip("the tests look for processes in /proc", allow_module_level=True)


@pytest.fixture(scope="session")
def fresh_prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectKit]:
    """A server that knows nothing yet but the work pool; no worker."""
    kit = PrefectKit(tmp_path_factory.mktemp("prefect"))
    try:
        kit.start_server()
        created = kit.prefect("work-pool", "create", POOL, "--type", "process")
        assert created.returncode == 0, created.stdout + created.stderr
        yield kit
    finally:
        kit.close()


@pytest.fixture(scope="session")
def deployed(fresh_prefect: PrefectKit) -> PrefectKit:
    """Everything of prefect.yaml deployed."""
    done = fresh_prefect.prefect("--no-prompt", "deploy", "--all")
    assert done.returncode == 0, done.stdout + done.stderr
    return fresh_prefect


@pytest.fixture
def prefect(deployed: PrefectKit) -> PrefectKit:
    """Server, worker and deployments, all up; a test may end what it likes."""
    if "server" not in deployed.processes:
        deployed.start_server()
    if "worker" not in deployed.processes:
        deployed.start_worker()
    return deployed


@pytest.fixture(scope="session")
def few_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 made-up photos of 6 classes and one that is cut short."""
    folder = write_photos(tmp_path_factory.mktemp("few") / "photos", images=60, classes=6)
    whole = next(folder.rglob("*.jpg"))
    whole.with_name("cut-short.jpg").write_bytes(whole.read_bytes()[:600])
    return folder


@pytest.fixture(scope="session")
def many_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 made-up photos: some seconds of work for one worker, time to interfere."""
    return write_photos(tmp_path_factory.mktemp("many") / "photos", images=600, classes=10)


@pytest.fixture(scope="session")
def photos_for_a_minute(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4,000 made-up photos: for runs that are not meant to get to their end."""
    return write_photos(tmp_path_factory.mktemp("minute") / "photos", images=4000, classes=10)


@pytest.fixture(scope="session")
def finished(
    deployed: PrefectKit, few_photos: Path, weights: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path, str]:
    """A finished run of the few photos, as a person starts one: its id, its output, and what the terminal said."""
    if "worker" not in deployed.processes:
        deployed.start_worker()
    output = tmp_path_factory.mktemp("finished") / "output"
    parameters = {
        "source": few_photos,
        "output": output,
        "weights": weights,
        "components": 8,
        "shard_size": 16,
        "max_rejects": 0.05,
    }
    options = [word for name, value in parameters.items() for word in ("--param", f"{name}={value}")]
    done = deployed.prefect("deployment", "run", "fruit-features/laptop", *options, "--watch")
    assert done.returncode == 0, done.stdout + done.stderr
    run = done.stdout.partition("UUID: ")[2].split()[0]
    return run, output, done.stdout


@pytest.fixture
def copy_of_finished(finished: tuple[str, Path, str], tmp_path: Path) -> Path:
    """A copy of the finished output, to be changed."""
    return shutil.copytree(finished[1], tmp_path / "copy")
