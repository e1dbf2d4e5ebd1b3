"""The archive runs anywhere: unpacked into an empty folder, without any environment."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from deployments.package import MAX_BYTES
from engines.core.images import decode
from engines.core.model import Model
from engines.core.runtimes import LiteRtRuntime
from engines.core.sample_photos import encode_photo
from engines.emr.artifacts import read_manifest
from tests.aws.spark_jobs import unpack

INFERENCE = """
import json, sys
from importlib.util import find_spec
from engines.core.images import decode
from engines.core.runtimes import LiteRtRuntime
network, photo = (open(name, "rb").read() for name in sys.argv[1:])
features = LiteRtRuntime(network).features(decode(photo))
modules = [name for name in ("tensorflow", "prefect", "dask", "pyspark") if find_spec(name)]
outside = [path for path in sys.path if not path.startswith(sys.prefix)]
print(json.dumps({"features": features.tobytes().hex(), "modules": modules, "outside": outside, "prefix": sys.prefix}))
"""


@pytest.fixture(scope="module")
def unpacked(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("somewhere else") / "environment"
    unpack(archive, folder)
    return folder


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
    here = LiteRtRuntime(model.content).features(decode(photo))
    assert np.array_equal(np.frombuffer(bytes.fromhex(answer["features"]), np.float32), here)
    assert answer["modules"] == []
    assert answer["outside"] == []
    assert answer["prefix"] == str(unpacked)


def test_its_name_says_the_lock_and_its_size_is_below_the_limit(archive: Path):
    manifest = read_manifest(archive)
    assert f"lock{manifest.lock}" in archive.name
    assert manifest.sha256[:12] in archive.name
    assert archive.stat().st_size == manifest.size < MAX_BYTES


def test_no_folder_of_the_build_is_searched_for_libraries(unpacked: Path):
    """Every library that is not the system's comes from the archive."""
    listed = subprocess.run(
        [
            "env",
            "-i",
            "ldd",
            str(unpacked / "bin" / "python"),
            *map(str, (unpacked / "lib" / "python3.11" / "lib-dynload").glob("*.so")),
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    places = set(re.findall(r"=> (/.*) \(0x", listed))
    outside = {place for place in places if not place.startswith((str(unpacked), "/lib", "/usr/lib"))}
    system = {Path(place).name.split(".so")[0] for place in places if place.startswith(("/lib", "/usr/lib"))}
    assert outside == set()
    assert system <= {"libc", "libm", "libdl", "libpthread", "librt", "libutil", "libresolv", "libgcc_s", "libstdc++"}
