"""An output that cannot be written any more: one line, exit code 1, and the same command goes on once it is mended."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.runs import Chaos, published
from tests.conftest import write_photos

pytestmark = pytest.mark.long

ENOUGH, TOO_SMALL = "size=64m", "size=8900k"
"""Of a file system in memory: a model takes 8.7 MB, and the features of 80 photos 0.4."""


@pytest.fixture(scope="module")
def undisturbed(chaos: Chaos) -> dict[str, str]:
    output = chaos.folder / "undisturbed"
    chaos.finish(output)
    return published(output)


ENGINES = {"dask": ("--workers", "2"), "spark": ("--engine", "spark", "--master", "local[2]")}


@pytest.fixture(scope="module", params=ENGINES)
def chaos(request: pytest.FixtureRequest, weights: str, tmp_path_factory: pytest.TempPathFactory) -> Chaos:
    folder = tmp_path_factory.mktemp("faults")
    source = write_photos(folder / "photos", images=80, classes=4)
    return Chaos(source, weights, ENGINES[request.param], folder, folder / "orders.json")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", TOO_SMALL, "tmpfs", folder], capture_output=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {made.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk(chaos: Chaos, undisturbed: dict[str, str], disk: Path) -> None:
    output = disk / "output"
    ended = chaos.run(output, aside=chaos.folder / "full")
    assert ended.code == 1, ended.errors
    assert "No space left on device\nMake room; what was done is kept.\n" in ended.errors
    assert "Traceback" not in ended.errors
    subprocess.run(["mount", "-o", f"remount,{ENOUGH}", disk], check=True)
    chaos.finish(output, aside=chaos.folder / "full")
    assert published(output) == undisturbed


def test_an_output_that_becomes_read_only(chaos: Chaos, undisturbed: dict[str, str], disk: Path) -> None:
    subprocess.run(["mount", "-o", f"remount,{ENOUGH}", disk], check=True)
    output = disk / "output"
    features = output / "features"
    plan = {
        "role": "worker",
        "pattern": "write features/",
        "number": 1,
        "victim": "output",
        # Nothing can take away the right to write from a file system that has a file open, as a broken disk does.
        "command": ["sh", "-c", f"mkdir -p '{features}' && mount -t tmpfs -o ro tmpfs '{features}'"],
    }
    ended = chaos.run(output, plan=plan, aside=chaos.folder / "read-only")
    subprocess.run(["umount", features], check=True)
    assert ended.code == 1, ended.errors
    assert "Read-only file system" in ended.errors
    assert "Traceback" not in ended.errors
    chaos.finish(output, aside=chaos.folder / "read-only")
    assert published(output) == undisturbed


@pytest.mark.parametrize("step", ["worker write features/", "worker write results/"])
def test_an_output_that_is_removed(chaos: Chaos, undisturbed: dict[str, str], tmp_path: Path, step: str) -> None:
    output = tmp_path / "output"
    role, _, pattern = step.partition(" ")
    plan = {
        "role": role,
        "pattern": pattern,
        "number": 1,
        "victim": "output",
        "command": ["mv", str(output), f"{output}.gone"],
    }
    ended = chaos.run(output, plan=plan)
    assert ended.code == 1, ended.errors
    assert f"the output {output} was removed while this run was writing into it" in ended.errors
    assert "Traceback" not in ended.errors
    shutil.rmtree(output, ignore_errors=True)
    chaos.finish(output)
    assert published(output) == undisturbed
