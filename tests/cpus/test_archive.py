"""The archive for Graviton, built here, is imported on an emulated ARM core: `make test-cpus`."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from deployments.package import build
from tests.aws.archive_imports import IMPORT_EVERYTHING
from tests.aws.spark_jobs import unpack
from tests.cpus.arm64_root import make_root
from tests.cpus.test_emulated import CACHE, PROJECT, needs

pytestmark = pytest.mark.timeout(7200)


def test_the_archive_for_graviton_is_imported_on_arm(tmp_path: Path) -> None:
    """With the Python 3.11 that a Debian for ARM has where EMR's image has it; the loader finds all it needs."""
    needs("qemu-aarch64-static", "debootstrap", "dpkg-deb", "uv")
    root = make_root(CACHE / "arm64", PROJECT)
    archive, _ = build("3.11", "release", tmp_path / "dist", "arm64")
    unpack(archive, tmp_path / "environment")
    # The name the interpreter is started by is the archive's, which makes it a virtual environment.
    emulator = [
        "qemu-aarch64-static",
        "-cpu",
        "neoverse-n1",
        "-L",
        str(root),
        "-0",
        str(tmp_path / "environment/bin/python"),
    ]
    command = [*emulator, str(root / "usr/bin/python3.11"), "-I", "-c", IMPORT_EVERYTHING]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 40
