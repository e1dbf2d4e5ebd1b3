"""The archive runs anywhere: unpacked into an empty folder, without any environment."""

from __future__ import annotations

import json
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest

from deployments import package
from deployments.package import MAX_BYTES
from deployments.shared_objects import check_objects, shared_objects
from engines.core.networks.images import decode
from engines.core.networks.mobilenet_v2 import MOBILENET_V2
from engines.core.networks.model import Model, library_versions
from engines.core.networks.runtimes import LiteRtRuntime
from engines.core.sample_photos import encode_photo
from engines.emr.archive import newer_glibc, read_manifest
from tests.aws.archive_imports import IMPORT_EVERYTHING
from tests.aws.conftest import whole_run
from tests.aws.spark_jobs import unpack

INFERENCE = """
import json, sys
from importlib.util import find_spec
from engines.core.networks.images import decode
from engines.core.networks.mobilenet_v2 import MOBILENET_V2
from engines.core.networks.runtimes import LiteRtRuntime
network, photo = (open(name, "rb").read() for name in sys.argv[1:])
features = LiteRtRuntime(network, MOBILENET_V2).features(decode(photo, MOBILENET_V2.side))
modules = [name for name in ("tensorflow", "prefect", "dask", "pyspark") if find_spec(name)]
outside = [path for path in sys.path if not path.startswith((sys.prefix, "/usr/lib/python3"))]
print(json.dumps({"features": features.tobytes().hex(), "modules": modules, "outside": outside, "prefix": sys.prefix}))
"""


@pytest.fixture(scope="module")
def unpacked(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("somewhere else") / "environment"
    unpack(archive, folder)
    return folder


@whole_run
def test_inference_gives_the_same_bytes_as_here(unpacked: Path, model: Model, tmp_path: Path):
    photo = encode_photo(1, 2, 3, 4)
    (tmp_path / "network.bin").write_bytes(model.content)
    (tmp_path / "photo.jpg").write_bytes(photo)
    script = tmp_path / "infer.py"
    script.write_text(INFERENCE)
    command = ["env", "-i", str(unpacked / "bin" / "python"), "-I", str(script), "network.bin", "photo.jpg"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    here = LiteRtRuntime(model.content, MOBILENET_V2).features(decode(photo, MOBILENET_V2.side))
    assert np.array_equal(np.frombuffer(bytes.fromhex(answer["features"]), np.float32), here)
    assert answer["modules"] == []
    assert answer["outside"] == []
    assert answer["prefix"] == str(unpacked)


@whole_run
def test_its_name_says_the_lock_and_its_size_is_below_the_limit(archive: Path):
    manifest = read_manifest(archive)
    assert f"lock{manifest.lock}" in archive.name
    assert manifest.sha256[:12] in archive.name
    assert archive.stat().st_size == manifest.size < MAX_BYTES


@whole_run
def test_everything_compiled_in_it_is_imported(unpacked: Path):
    """Where a library lacks a symbol or another library, the loader refuses it here."""
    command = ["env", "-i", str(unpacked / "bin" / "python"), "-I", "-c", IMPORT_EVERYTHING]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 40


@whole_run
@pytest.mark.timeout(1800)  # builds another archive
@pytest.mark.parametrize("architecture", ["x86_64", "arm64"])
def test_each_shared_object_runs_on_emr_s_image(
    request: pytest.FixtureRequest, architecture: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
):
    """Built for a named processor without one at hand, for the C library of Amazon Linux 2023."""
    if architecture == "x86_64":
        archive = request.getfixturevalue("archive")
    else:
        archive, _ = package.build("3.11", "release", tmp_path_factory.mktemp("arm64"), architecture)
    unpack(archive, tmp_path / "environment")
    manifest = read_manifest(archive)
    assert manifest.architecture == architecture
    assert manifest.glibc == check_objects(tmp_path / "environment", architecture)
    assert not newer_glibc(manifest.glibc, "2.34")
    assert len(list(shared_objects(tmp_path / "environment"))) > 60


@whole_run
def test_nothing_of_the_build_machine_s_python_is_in_it(unpacked: Path):
    assert {path.name: str(path.readlink()) for path in (unpacked / "bin").iterdir()} == dict.fromkeys(
        ("python", "python3", "python3.11"), "/usr/bin/python3.11"
    )
    assert [path.name for path in (unpacked / "lib" / "python3.11").iterdir()] == ["site-packages"]
    assert (unpacked / "pyvenv.cfg").read_text().startswith("home = /usr/bin\n")


@whole_run
def test_its_manifest_has_the_libraries_that_decide_about_the_features(archive: Path):
    assert read_manifest(archive).libraries == library_versions("litert")


def test_equal_trees_give_equal_bytes_that_everybody_may_read(tmp_path: Path):
    """Whatever the umask and the clock: on a cluster, who unpacks the archive is not who runs it."""
    archives = []
    for number, mode in enumerate((0o600, 0o644)):
        tree = tmp_path / f"tree-{number}"
        (tree / "bin").mkdir(parents=True, mode=0o700)
        (tree / "bin" / "python").write_text("python")
        (tree / "bin" / "python").chmod(0o700)
        (tree / "module.py").write_text("1")
        (tree / "module.py").chmod(mode)
        archives.append(tmp_path / f"{number}.tar.gz")
        package._pack(tree, archives[-1])
    assert archives[0].read_bytes() == archives[1].read_bytes()
    with tarfile.open(archives[0]) as tar:
        assert {member.name: member.mode for member in tar} == {"bin": 0o755, "bin/python": 0o755, "module.py": 0o644}


@whole_run
def test_workers_find_it_compiled(unpacked: Path):
    """Each worker unpacks the archive anew, and would compile everything it imports."""
    library = unpacked / "lib" / "python3.11"
    modules = list((library / "site-packages" / "engines").rglob("*.py"))
    assert len(modules) > 50
    for module in modules:
        compiled = (module.parent / "__pycache__" / f"{module.stem}.cpython-311.pyc").read_bytes()
        assert int.from_bytes(compiled[4:8], "little") == 0b01, module  # by hash, and unchecked: see PEP 552


@whole_run
def test_nothing_in_it_says_where_it_was_built(unpacked: Path):
    """Which would make another archive of the same sources, and scripts that start an interpreter that is not there."""
    names = [path for path in unpacked.rglob("*") if path.is_file() and not path.is_symlink()]
    assert [path for path in names if b"/fruit-features-package-" in path.read_bytes()] == []
    assert all(path.name.startswith("python") for path in (unpacked / "bin").iterdir())
