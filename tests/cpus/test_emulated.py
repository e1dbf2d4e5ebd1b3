"""The worker's half of the chain on emulated CPUs gives the bytes of this machine: `make test-cpus`, 5 s a photo."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engines.base import FeaturizeRequest, FitRequest, IndexRequest
from engines.core.index.selection import Selection
from engines.core.networks.model import publish_model
from engines.core.networks.prepare import prepare_model
from flows.checks import cache_folder
from tests.cpus.arm64_root import make_root
from tests.cpus.worker_half import COMPONENTS, worker_half
from tests.parity.chain import SequentialEngine

PROJECT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("FRUITS_TEST_CPUS", PROJECT / ".cpus"))
"""Where the ARM root stays between runs: 1 GB."""

pytestmark = pytest.mark.timeout(7200)


def needs(*programs: str) -> None:
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)} (Debian: apt-get install qemu-user-static debootstrap)")


@pytest.fixture(scope="module")
def prepared(
    request: pytest.FixtureRequest, real_photos: Path, real_weights: str, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """An output as a driver prepares it: catalog, model, PCA; with the features they come from taken out."""
    photos = request.param
    folder = tmp_path_factory.mktemp("prepared")
    source = folder / "photos"
    for number, photo in enumerate(sorted(real_photos.glob("*/*.jpg"))[:: 6600 // photos][:photos]):
        (source / photo.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, source / photo.parent.name / f"{number:02d}.jpg")
    output, engine = folder / "output", SequentialEngine()
    model = prepare_model(real_weights, "litert", cache_folder())
    indexed = engine.index(IndexRequest(str(source), str(output), Selection(shard_size=8)))
    assert indexed.listed == photos
    publish_model(model, str(output))
    engine.featurize(FeaturizeRequest(str(source), str(output), indexed.catalog, model.fingerprint))
    engine.fit_pca(FitRequest(str(output), indexed.catalog, model.fingerprint, COMPONENTS))
    shutil.rmtree(output / "features")
    return output


@pytest.fixture(scope="module")
def here(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The digests of this machine."""
    return worker_half(Path(shutil.copytree(prepared, tmp_path_factory.mktemp("here") / "output")))


def emulated(command: list[str], environment: dict[str, str], output: Path) -> dict[str, str]:
    done = subprocess.run(
        [*command, "-m", "tests.cpus.worker_half", str(output)],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environment},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stderr[-3000:]}"
    digests: dict[str, str] = json.loads(done.stdout)
    return digests


def on_arm(output: Path) -> dict[str, str]:
    needs("qemu-aarch64-static", "debootstrap", "dpkg-deb", "uv")
    root = make_root(CACHE / "arm64", PROJECT)
    command = ["qemu-aarch64-static", "-cpu", "neoverse-n1", "-L", str(root), str(root / "usr/bin/python3.11")]
    return emulated(command, {"PYTHONPATH": f"{CACHE / 'arm64' / 'wheels'}:{PROJECT}"}, output)


def on_haswell(output: Path) -> dict[str, str]:
    needs("qemu-x86_64-static")
    if platform.machine() != "x86_64":
        pytest.skip("the emulated Haswell uses this machine's own environment, which is not one for x86-64")
    return emulated(["qemu-x86_64-static", "-cpu", "Haswell", sys.executable], {"PYTHONPATH": str(PROJECT)}, output)


# QEMU takes about 5 s for a photo on ARM, and most of a minute on x86: its AVX2 is done in software, a lane at a time.
@pytest.mark.parametrize(
    ("cpu", "prepared"),
    [pytest.param(on_arm, 20, id="ARM neoverse-n1"), pytest.param(on_haswell, 10, id="x86-64 Haswell")],
    indirect=["prepared"],
)
def test_an_emulated_cpu_gives_the_bytes_of_this_machine(
    cpu: Callable[[Path], dict[str, str]], prepared: Path, here: dict[str, str], tmp_path: Path
) -> None:
    answer = cpu(Path(shutil.copytree(prepared, tmp_path / "output")))
    print(json.dumps(answer, indent=1))
    assert answer == here
