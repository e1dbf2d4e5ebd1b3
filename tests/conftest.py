"""Photos, weights and models that tests of every kind share."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import hypothesis
import pytest

from engines.core.networks.model import Model
from engines.core.networks.prepare import prepare_model
from engines.core.sample_photos import class_name, encode_photo
from flows.checks import cache_folder

pytest_plugins = ["tests.s3"]

# How long an example takes says nothing about the code: no test is timed.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

# A shell has what it starts in the background ignore Ctrl-C, and so would every program that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Functions of tests are sent to workers by the names of their modules, which workers then import.
ROOT = Path(__file__).resolve().parents[1]
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))

SHARED = Path(__file__).resolve().parents[2] / "shared"
TEST_DATA = Path(os.environ.get("FRUITS_TEST_DATA", SHARED / "data" / "fruits360-33"))
TEST_WEIGHTS = Path(os.environ.get("FRUITS_TEST_WEIGHTS", SHARED / "weights" / "mobilenet_v2_1.0_224_slim_no_top.h5"))


def write_photos(folder: Path, images: int, classes: int, seed: int = 0) -> Path:
    """Made-up photos in `folder/CLASS/VIEW.jpg`."""
    for number in range(images):
        kind, view = number % classes, number // classes
        path = folder / class_name(kind) / f"{view:03d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_photo(seed, number, kind, view))
    return folder


@pytest.fixture(scope="session")
def real_photos() -> Path:
    """Real Fruits-360 photos, a folder per class."""
    if not TEST_DATA.is_dir():
        pytest.skip(f"no real photos: FRUITS_TEST_DATA={TEST_DATA} is not a folder")
    return TEST_DATA


@pytest.fixture(scope="session")
def real_weights() -> str:
    """Trained MobileNetV2 weights without head."""
    if not TEST_WEIGHTS.is_file():
        pytest.skip(f"no real weights: FRUITS_TEST_WEIGHTS={TEST_WEIGHTS} is not a file")
    return str(TEST_WEIGHTS)


@pytest.fixture(scope="session")
def weights() -> str:
    """Trained weights where they are there, else calibrated random ones: for tests to which either will do."""
    return str(TEST_WEIGHTS) if TEST_WEIGHTS.is_file() else "random"


@pytest.fixture(scope="session")
def model(weights: str) -> Model:
    """The converted network, from the user's cache where it is there."""
    return prepare_model(weights, "litert", cache_folder())


@pytest.fixture(scope="session")
def random_model() -> Model:
    """The network with calibrated random weights, from the user's cache where it is there."""
    return prepare_model("random", "litert", cache_folder())


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 made-up photos of 10 classes."""
    return write_photos(tmp_path_factory.mktemp("photos"), images=150, classes=10)
