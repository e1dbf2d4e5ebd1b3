"""The digests that the same photos, weights and versions give on every CPU with FMA. They stand here, not in a cache.

Other versions of LiteRT or Pillow may give others: then these change with `uv.lock`, and so does every fingerprint.
"""

from __future__ import annotations

import hashlib
import platform
from pathlib import Path

import numpy as np
import pytest

from engines.core.networks.canary import measure_canary
from engines.core.networks.images import decode
from engines.core.networks.mobilenet_v2 import MOBILENET_V2
from engines.core.networks.model import Model, library_versions
from engines.core.networks.prepare import prepare_model
from engines.core.networks.runtimes import open_runtime
from engines.core.reduce.moments import moments_of
from engines.core.reduce.pca import dump_pca, fit_pca, project
from flows.checks import cache_folder
from tests.unit.test_same_bits import cpu_flags

VERSIONS = {"ai-edge-litert": "2.3.0", "pillow": "13.0.0"}
PHOTOS = 20
COMPONENTS = 8

CANARY = "f9b2b8dc6c97e77eb334d2fa3a9440e6d739590a67e366bdcc87aee92d8531d8"
PIXELS = "55f12f20a61af7e75e008d75832333ee7301cf46674681e6e81f12fc4550267b"
FEATURES = "f19a2fb48c0b0e86d769482de6a9fd6d034906502ac8adf42bf478a751f1d2cc"
PCA = "8cb9ced37a873953c8a0711022106779113d9664df8625189aa7ade2ed763945"
RESULTS = "87b9e9d4f527a9010e26358a71a02479cb60bb140600383264368f25b86bbb41"

CALIBRATED_WEIGHTS = "d17c446307255fdad2f617a9194d5e90d5fd20f9fe32e6272fe7b20f3e5cceaa"
CALIBRATED_CANARY = "044c895333f2e6b56c08df4add1a2bb8a0793aadfcb36611c1baa52ba6e4acfd"

needs_fma = pytest.mark.xfail(
    platform.machine() == "x86_64" and "fma" not in cpu_flags(),
    reason="this CPU has no FMA: XNNPACK rounds each product, and features differ by 1e-5",
)


@pytest.fixture(scope="module")
def model(real_weights: str) -> Model:
    model = prepare_model(real_weights, "litert", cache_folder())
    if library_versions("litert") != VERSIONS:
        pytest.skip(f"the digests are those of {VERSIONS}, not of {library_versions('litert')}")
    return model


@pytest.fixture(scope="module")
def pixels(real_photos: Path) -> list[np.ndarray]:
    photos = sorted(real_photos.glob("*/*.jpg"), key=lambda path: path.relative_to(real_photos).parts)
    assert len(photos) == 6600, "the digests are those of 20 of the 6,600 photos of 33 classes"
    return [decode(path.read_bytes(), MOBILENET_V2.side) for path in photos[:: len(photos) // PHOTOS]]


@pytest.fixture(scope="module")
def features(model: Model, pixels: list[np.ndarray]) -> np.ndarray:
    runtime = open_runtime(model)
    return MOBILENET_V2.grid.snap(np.stack([runtime.features(image) for image in pixels]))


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_weights_calibrated_on_made_up_photos(random_model: Model) -> None:
    assert random_model.recipe["weights_sha256"] == CALIBRATED_WEIGHTS


@needs_fma
def test_features_of_calibrated_weights(random_model: Model) -> None:
    if library_versions("litert") != VERSIONS:
        pytest.skip(f"the digests are those of {VERSIONS}, not of {library_versions('litert')}")
    assert measure_canary(random_model).digest == CALIBRATED_CANARY


@needs_fma
def test_canary(model: Model) -> None:
    assert measure_canary(model).digest == CANARY


def test_pixels(model: Model, pixels: list[np.ndarray]) -> None:
    assert digest(b"".join(image.tobytes() for image in pixels)) == PIXELS


@needs_fma
def test_features(features: np.ndarray) -> None:
    assert features.shape == (PHOTOS, 1280)
    assert digest(features.tobytes()) == FEATURES


@needs_fma
def test_pca_and_results(features: np.ndarray) -> None:
    pca = fit_pca(moments_of([features], 1280, MOBILENET_V2.grid), COMPONENTS)
    assert digest(dump_pca(pca)) == PCA
    assert digest(project(pca, features).tobytes()) == RESULTS
