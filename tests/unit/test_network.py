"""From weights to a model: converted once, the same each time, and never with other weights than those asked for."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest

from engines.core.errors import DownloadError, InputError, StageError
from engines.core.networks import prepare as network
from engines.core.networks.images import decode
from engines.core.networks.mobilenet_v2 import MOBILENET_V2
from engines.core.networks.model import Model
from engines.core.networks.prepare import prepare_model
from engines.core.networks.runtimes import open_runtime
from engines.core.proof.reading import sealed_json
from engines.core.sample_photos import encode_photo
from flows.checks import cache_folder
from tests.conftest import TEST_WEIGHTS
from tests.damage import DAMAGE
from tests.processes import processes_with


class Conversions:
    """The slow ones (TensorFlow is loaded for each), started together for all tests of this module."""

    def __init__(self, folder: Path, cache: Path, random: Model) -> None:
        self.cache = cache
        """It has one entry: that of calibrated random weights, which tests/unit/test_golden.py holds to a digest."""
        for entry in (cache_folder() / "models").iterdir():
            if (entry / "network.bin").is_file() and (entry / "network.bin").read_bytes() == random.content:
                shutil.copytree(entry, cache / "models" / entry.name)
        self.misfit = folder / "misfit.h5"
        if TEST_WEIGHTS.is_file():
            shutil.copy(TEST_WEIGHTS, self.misfit)
            with h5py.File(self.misfit, "r+") as file:
                del file["Conv1/Conv1/kernel:0"]
                file["Conv1/Conv1/kernel:0"] = np.zeros((3, 3), np.float32)
        else:
            with h5py.File(self.misfit, "w") as file:
                file["nothing"] = np.zeros(3)
        pool = ThreadPoolExecutor(2)
        self.imagenet = pool.submit(prepare_model, "imagenet", "litert", cache)
        self.steps: list[tuple[int, int]] = []
        """Of the wrong one."""
        self.wrong = pool.submit(
            prepare_model, str(self.misfit), "litert", cache, on_step=lambda *step: self.steps.append(step)
        )
        pool.shutdown(wait=False)


@pytest.fixture(scope="module")
def conversions(tmp_path_factory: pytest.TempPathFactory, random_model: Model) -> Iterator[Conversions]:
    with socket.socket() as unused, pytest.MonkeyPatch.context() as patch:
        unused.bind(("127.0.0.1", 0))  # taken, and nobody listens: a network that refuses at once
        for name in ("HTTPS_PROXY", "https_proxy"):
            patch.setenv(name, f"http://127.0.0.1:{unused.getsockname()[1]}")
        patch.delenv("NO_PROXY", raising=False)
        patch.delenv("no_proxy", raising=False)
        patch.setenv("KERAS_HOME", str(tmp_path_factory.mktemp("keras")))
        yield Conversions(tmp_path_factory.mktemp("weights"), tmp_path_factory.mktemp("cache"), random_model)


def failure(conversion: Future[Model]) -> InputError:
    with pytest.raises(InputError) as error:
        conversion.result()
    return error.value


def test_random_weights_give_features_of_a_useful_spread(random_model: Model) -> None:
    runtime = open_runtime(random_model)
    photos = [encode_photo(seed=7, number=number, kind=number % 8, view=number // 8) for number in range(48)]
    features = np.stack([runtime.features(decode(photo, MOBILENET_V2.side)) for photo in photos])
    deviation = features.std(axis=0)
    # Plain Keras initialization gives 1e-12 here. Trained weights: a median near 0.3, and few dead features.
    assert np.median(deviation) > 0.01
    assert (deviation > 1e-3).mean() > 0.9
    kinds = features.reshape(6, 8, -1)
    within = kinds.std(axis=0).mean()
    between = kinds.mean(axis=0).std(axis=0).mean()
    assert between > 0.5 * within, "views of a kind are more alike than photos of different kinds"


def test_the_second_call_is_served_from_the_cache(
    conversions: Conversions, random_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:

    for conversion in (conversions.imagenet, conversions.wrong):
        conversion.exception()  # they convert by the same function

    def convert(*_: object) -> None:
        raise AssertionError("converted again")

    monkeypatch.setattr(network, "_convert", convert)
    assert prepare_model("random", "litert", conversions.cache) == random_model


def test_a_conversion_says_how_far_it_is_and_a_model_in_the_cache_says_nothing(conversions: Conversions) -> None:
    conversions.wrong.exception()
    assert conversions.steps == [(0, 4), (1, 4)], "TensorFlow was there, and the network could not be built"
    prepare_model("random", "litert", conversions.cache, on_step=lambda *step: conversions.steps.append(step))
    assert len(conversions.steps) == 2


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", [network.NETWORK, network.FACTS])
def test_a_damaged_cache_is_said_and_made_again(
    random_model: Model,
    conversions: Conversions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    damage: str,
) -> None:
    shutil.copytree(conversions.cache, tmp_path, dirs_exist_ok=True)
    (entry,) = (path.parent for path in tmp_path.glob("models/*/facts.json"))
    seal_facts(entry)
    whole = {path.name: path.read_bytes() for path in entry.iterdir()}
    DAMAGE[damage](entry / name, Path(__file__), random.Random(7))

    def convert(*_: object) -> None:
        for each, content in whole.items():
            (entry / each).write_bytes(content)

    monkeypatch.setattr(network, "_convert", convert)
    assert prepare_model("random", "litert", tmp_path) == random_model
    assert re.search(rf"in the cache, {entry}/\S+ is \w+.*; it is made again", caplog.text)
    assert {path.name: path.read_bytes() for path in entry.iterdir()} == whole


def seal_facts(entry: Path) -> None:
    """As conversions write them, whatever made the cache that the tests were given."""
    facts = json.loads((entry / network.FACTS).read_text())
    facts.pop("seal", None)
    (entry / network.FACTS).write_bytes(sealed_json(facts, network.FACTS))


def test_a_cache_that_keeps_nothing_is_an_error(
    conversions: Conversions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(conversions.cache, tmp_path, dirs_exist_ok=True)
    (facts,) = tmp_path.glob("models/*/facts.json")
    facts.write_bytes(b"")
    monkeypatch.setattr(network, "_convert", lambda *_: None)
    with pytest.raises(StageError, match=f"the cache {tmp_path} does not keep what is written there"):
        prepare_model("random", "litert", tmp_path)


def test_imagenet_without_network_names_the_way_out(conversions: Conversions) -> None:
    error = failure(conversions.imagenet)
    assert isinstance(error, DownloadError)
    assert "ImageNet weights cannot be downloaded" in error.message
    assert "--weights FILE" in error.hint


def test_weights_of_another_shape_are_an_input_error(conversions: Conversions) -> None:
    error = failure(conversions.wrong)
    assert str(conversions.misfit) in error.message
    assert "mismatch" in error.message
    assert "include_top=False" in error.hint


def test_what_failed_is_not_cached(conversions: Conversions) -> None:
    for conversion in (conversions.imagenet, conversions.wrong):
        failure(conversion)
    (entry,) = (conversions.cache / "models").iterdir()
    assert sorted(path.name for path in entry.iterdir()) == ["facts.json", "network.bin"]


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="there is no /proc")
def test_a_conversion_ends_with_the_process_that_waits_for_it(tmp_path: Path) -> None:
    convert = f"""
from pathlib import Path
from engines.core.networks.prepare import prepare_model
prepare_model("random", "litert", Path({str(tmp_path)!r}), on_step=lambda *_: print("begun", flush=True))
"""
    environment = {**os.environ, "CONVERSION": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", convert], stdout=subprocess.PIPE, env=environment) as waiting:
        assert waiting.stdout is not None
        assert waiting.stdout.readline() == b"begun\n"
        deadline = time.monotonic() + 60
        while len(processes_with("CONVERSION", str(tmp_path))) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        waiting.kill()
    while left := processes_with("CONVERSION", str(tmp_path)):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a zip", b"weights"])
def test_what_is_not_hdf5_is_an_input_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.h5"
    path.write_bytes(content)
    with pytest.raises(InputError, match="is not an HDF5 file") as error:
        prepare_model(str(path), "litert", tmp_path)
    assert error.value.hint


@pytest.mark.parametrize("name", ["missing.h5", "."])
def test_weights_that_are_no_file_are_an_input_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="does not exist"):
        prepare_model(str(tmp_path / name), "litert", tmp_path)


def test_an_unknown_runtime_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown runtime 'onnx'") as error:
        prepare_model("random", "onnx", tmp_path)
    assert "litert" in error.value.hint


def test_the_name_of_a_weights_file_does_not_matter(
    real_weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = prepare_model(real_weights, "litert", cache_folder())
    monkeypatch.setattr(network, "_convert", lambda *_: pytest.fail("converted again"))
    copy = tmp_path / "renamed.h5"
    shutil.copy(real_weights, copy)
    assert prepare_model(str(copy), "litert", cache_folder()).fingerprint == model.fingerprint


def test_weights_that_are_not_numbers_are_refused_before_anything_is_computed(
    real_weights: str, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged.h5"
    shutil.copy(real_weights, damaged)
    with h5py.File(damaged, "r+") as file:
        kernels: list[str] = []
        file.visititems(lambda name, item: kernels.append(name) if getattr(item, "ndim", 0) == 4 else None)
        file[kernels[5]][0, 0, 0, 0] = np.nan
    with pytest.raises(InputError, match="values that are not numbers, in the layer"):
        prepare_model(str(damaged), "litert", tmp_path / "cache")
