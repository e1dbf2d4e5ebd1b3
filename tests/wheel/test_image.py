"""The steps of the Dockerfile work, and give an image in which everything runs as its user."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from tests.wheel.image import Stage, build

pytestmark = pytest.mark.timeout(3600)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The last stage of the Dockerfile, as it is by default."""
    missing = [program for program in ("debootstrap", "unshare", "chroot") if shutil.which(program) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"needs root and {', '.join(missing) or 'nothing else'}: the Dockerfile is not run")
    # `uv run` names its program; one found in PATH may be a script that starts it.
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        pytest.skip("uv is not installed")
    folder = tmp_path_factory.mktemp("image")
    yield build(folder, uv)
    shutil.rmtree(folder)


def test_the_command_the_demo_and_the_workers_run_as_the_images_user(image: Stage) -> None:
    assert image.user == "10001"
    for command in (["fruits", "--version"], ["prefect", "version"], ["dask", "worker", "--version"]):
        done = image.run([*image.entrypoint, *command])
        assert done.returncode == 0, done.stderr
    demo = image.run([*image.entrypoint, "fruits", "demo", "/data/demo"])
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert (image.root / "data/demo/output/run.json").is_file()
    helped = image.run([*image.entrypoint, *image.command])
    assert "featurize" in helped.stdout.lower(), helped.stderr


def test_it_has_what_is_deployed_from_it_and_nothing_of_a_checkout(image: Stage) -> None:
    inside = {path.name for path in (image.root / "opt/fruit-features").iterdir()}
    assert inside == {"prefect.yaml", "deployments", "engines", "flows"}
    assert not (image.root / "source").exists()
    assert not (image.root / "usr/local/bin/uv").exists()
    # From the lock file, without what only developers need.
    packages = {
        path.name.partition("-")[0]
        for path in (image.root / "opt/fruits/lib/python3.11/site-packages").glob("*.dist-info")
    }
    assert {"prefect", "distributed", "tensorflow", "ai_edge_litert"} <= packages
    assert not packages & {"pytest", "mypy", "pyspark", "moto"}
