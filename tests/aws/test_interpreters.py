"""Which Python an archive runs on, and what its compiled files may ask of EMR's image; nothing is downloaded."""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from deployments import shared_objects
from deployments.interpreter import install_standalone, use_release
from engines.core.errors import InputError, StageError
from engines.emr.archive import RELEASE_INTERPRETER, read_manifest
from engines.emr.releases import check_release
from tests.aws.conftest import write_archive


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A standalone CPython for ARM as it is published, with next to nothing in it, where uv downloads it from."""
    build = tmp_path / "build" / "python"
    standard = build / "lib" / "python3.11"
    for folder in (build / "bin", standard / "test", standard / "tkinter", build / "lib" / "tcl8.6"):
        folder.mkdir(parents=True)
        (folder / "file").write_text("")
    (standard / "os.py").write_text("")
    sysconfig = "# system configuration generated and used by the sysconfig module\nbuild_time_vars = {}\n"
    (standard / "_sysconfigdata__linux_aarch64-linux-gnu.py").write_text(sysconfig)
    (build / "bin" / "python3.11").write_text("for another processor")
    for name in ("python", "python3"):
        (build / "bin" / name).symlink_to("python3.11")
    packed = tmp_path / "cpython-3.11.9+20240814-aarch64-unknown-linux-gnu-install_only_stripped.tar.gz"
    with tarfile.open(packed, "w:gz") as tar:
        tar.add(build, "python")
    release = {
        "name": "cpython",
        "arch": {"family": "aarch64", "variant": None},
        "os": "linux",
        "libc": "gnu",
        "major": 3,
        "minor": 11,
        "patch": 9,
        "prerelease": "",
        "url": packed.as_uri(),
        "sha256": hashlib.sha256(packed.read_bytes()).hexdigest(),
        "variant": None,
        "build": "20240814",
    }
    index = tmp_path / "downloads.json"
    index.write_text(json.dumps({"cpython-3.11.9-linux-aarch64-gnu": release}))
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS_JSON_URL", str(index))
    return packed


def test_a_standalone_python_is_downloaded_for_the_workers_processor(mirror: Path, tmp_path: Path):
    origin, version = install_standalone("3.11", "arm64", tmp_path / "environment")
    assert (origin, version) == ("standalone cpython-3.11.9-linux-aarch64-gnu", "3.11.9")
    assert (tmp_path / "environment" / "bin" / "python").readlink() == Path("python3.11")
    kept = {path.name for path in (tmp_path / "environment" / "lib").rglob("*")}
    assert "os.py" in kept
    assert not {"test", "tkinter", "tcl8.6", "EXTERNALLY-MANAGED"} & kept


def test_a_python_that_cannot_be_downloaded_says_what_else_there_is(mirror: Path, tmp_path: Path):
    mirror.unlink()
    with pytest.raises(InputError, match=r"cpython-3\.11-linux-aarch64-gnu cannot be downloaded") as caught:
        install_standalone("3.11", "arm64", tmp_path / "environment")
    assert "--interpreter release" in caught.value.hint


def test_an_archive_without_a_python_is_a_virtual_environment_of_the_image(tmp_path: Path):
    assert use_release("3.11", tmp_path / "environment") == (RELEASE_INTERPRETER, "3.11")
    assert (tmp_path / "environment" / "bin" / "python").readlink() == Path("/usr/bin/python3.11")


@pytest.mark.parametrize(
    ("release", "python", "fits"),
    [
        ("emr-7.13.0", "3.11", True),
        ("emr-7.0.0", "3.11", False),
        ("emr-7.12.0", "3.11", False),
        ("emr-spark-8.0.0", "3.11", True),
        ("emr-spark-8.1.0", "3.13", True),
        ("emr-spark-8.1.0", "3.12", False),
    ],
)
def test_an_archive_without_a_python_needs_a_release_that_has_it(tmp_path: Path, release: str, python: str, fits: bool):
    manifest = read_manifest(write_archive(tmp_path, python=python, interpreter=RELEASE_INTERPRETER))
    if fits:
        assert release in check_release(release, manifest)
        return
    with pytest.raises(InputError, match=f"is not known to have Python {python}") as caught:
        check_release(release, manifest)
    assert "--interpreter standalone" in caught.value.hint


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with one compiled file of NumPy, which needs libm and libc."""
    (found,) = Path(np.__file__).parent.glob("random/mtrand.*.so")
    shutil.copy(found, tmp_path / "mtrand.so")
    return tmp_path


def test_a_file_for_another_processor_is_refused(tree: Path):
    (one,) = shared_objects.shared_objects(tree)
    other = {"x86_64": "arm64", "arm64": "x86_64"}[one.architecture]
    assert shared_objects.check_objects(tree, one.architecture) == one.symbols["GLIBC"]
    with pytest.raises(StageError, match=rf"mtrand\.so is for {one.architecture}"):
        shared_objects.check_objects(tree, other)


def test_a_file_that_needs_later_symbols_or_other_libraries_is_refused(tree: Path, monkeypatch: pytest.MonkeyPatch):
    (one,) = shared_objects.shared_objects(tree)
    monkeypatch.setitem(shared_objects.WORKERS_SYMBOLS, "GLIBC", "2.1")
    with pytest.raises(StageError, match=r"mtrand\.so needs GLIBC_2\.\d+, EMR's image has 2\.1"):
        shared_objects.check_objects(tree, one.architecture)
    monkeypatch.setitem(shared_objects.WORKERS_SYMBOLS, "GLIBC", "2.34")
    (tree / "mtrand.so").write_bytes((tree / "mtrand.so").read_bytes().replace(b"libm.so.6\0", b"libq.so.6\0"))
    with pytest.raises(StageError, match=r"mtrand\.so needs libq\.so\.6, which is not in the archive"):
        shared_objects.check_objects(tree, one.architecture)
