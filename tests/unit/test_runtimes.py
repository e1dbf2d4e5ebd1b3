"""The network runs alike whatever came before, and quietly."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from engines.core.errors import DamagedError, InputError
from engines.core.networks.images import decode
from engines.core.networks.mobilenet_v2 import MOBILENET_V2
from engines.core.networks.model import Model, publish_model, read_model
from engines.core.networks.runtimes import _NOTICE, LiteRtRuntime, _without_notice, open_runtime
from engines.core.sample_photos import encode_photo


def test_features_do_not_depend_on_the_images_before(model: Model) -> None:
    runtime = open_runtime(model)
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (4, 224, 224, 3), dtype=np.uint8)
    rows = [runtime.features(image) for image in images]
    again = [runtime.features(image) for image in images[::-1]][::-1]
    np.testing.assert_array_equal(rows, again)
    assert all(row.shape == (1280,) and row.dtype == np.float32 for row in rows)
    assert 0 <= np.min(rows) < np.max(rows) < MOBILENET_V2.grid.high


def test_a_network_is_loaded_once_per_thread(model: Model) -> None:
    assert open_runtime(model) is open_runtime(dataclasses.replace(model))


def test_other_versions_on_a_worker_are_an_error(model: Model) -> None:
    libraries = {**model.recipe["libraries"], "pillow": "0.0.1"}
    other = Model(model.content, {**model.recipe, "libraries": libraries})
    assert other.fingerprint != model.fingerprint
    with pytest.raises(InputError, match=r"but the run was started with .*pillow 0\.0\.1") as error:
        open_runtime(other)
    assert "same versions" in error.value.hint


def test_loading_writes_nothing_to_standard_error(model: Model, tmp_path: Path) -> None:
    publish_model(model, str(tmp_path))
    script = (
        "import sys; from engines.core.networks.model import read_model;"
        "from engines.core.networks.runtimes import open_runtime;"
        "open_runtime(read_model(sys.argv[1], sys.argv[2]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), model.fingerprint], capture_output=True, check=True
    )
    assert done.stderr == b""


def test_only_the_notice_is_kept_from_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), _without_notice():  # noqa: PT012
        os.write(2, b"before\n" + _NOTICE + b"\nafter\n")
        raise ZeroDivisionError
    os.write(2, b"later\n")
    assert capfd.readouterr().err == "before\nafter\nlater\n"


def test_a_published_model_comes_back_whole(model: Model, tmp_path: Path) -> None:
    publish_model(model, str(tmp_path))
    assert read_model(str(tmp_path), model.fingerprint) == model


def test_the_name_of_the_weights_is_no_part_of_the_fingerprint(model: Model) -> None:
    renamed = Model(model.content, {**model.recipe, "weights": "copy.h5"})
    assert renamed.fingerprint == model.fingerprint


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ("runtime", "tensorflow"),
        ("weights_sha256", "0"),
        ("graph_sha256", "0"),
        ("preprocessing", "other"),
        ("libraries", {}),
    ],
)
def test_whatever_decides_about_the_features_is_part_of_the_fingerprint(model: Model, fact: str, value: object) -> None:
    assert fact in model.recipe
    assert Model(model.content, {**model.recipe, fact: value}).fingerprint != model.fingerprint


def test_the_reference_runtime_gives_the_same_features_and_is_saved_reproducibly(
    model: Model, weights: str, tmp_path: Path
) -> None:
    photos = np.stack(
        [decode(encode_photo(seed=1, number=number, kind=number, view=0), MOBILENET_V2.side) for number in range(6)]
    )
    np.save(tmp_path / "photos.npy", photos)
    # In a process of its own: TensorFlow stays in memory for good.
    script = """
import sys
import numpy as np
from engines.core.networks.prepare import prepare_model
from engines.core.networks.runtimes import open_runtime
from flows.checks import cache_folder
runtime = open_runtime(prepare_model(sys.argv[1], "tensorflow", cache_folder()))
photos, features, archives = sys.argv[2:]
np.save(features, np.stack([runtime.features(photo) for photo in np.load(photos)]))

# While TensorFlow is here: archives of equal networks, saved at other times, are equal.
import time
from pathlib import Path
import keras
from engines.core.networks.build import to_archive
for name in ("one", "other"):
    zeros = keras.initializers.Zeros()  # shared: Keras writes its address into the archive
    layers = [keras.layers.Dense(2, kernel_initializer=zeros, name=layer) for layer in ("first", "second")]
    network = keras.Sequential([keras.Input((2,), name="input"), *layers], name="network")
    Path(archives, name).write_bytes(to_archive(network, Path(archives, "scratch.keras")))
    time.sleep(2.1)
"""
    places = [str(tmp_path / name) for name in ("photos.npy", "features.npy")]
    command = [sys.executable, "-c", script, weights, *places, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    runtime = open_runtime(model)
    # As in test_oracle: other kernels, in other orders.
    expected = np.stack([runtime.features(photo) for photo in photos])
    np.testing.assert_allclose(np.load(places[1]), expected, rtol=0, atol=1e-4)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_a_damaged_model_is_noticed(model: Model, tmp_path: Path) -> None:
    publish_model(model, str(tmp_path))
    network = tmp_path / "models" / model.fingerprint / "network.bin"
    network.write_bytes(network.read_bytes()[:-1])
    with pytest.raises(DamagedError, match=r"network\.bin is corrupt"):
        read_model(str(tmp_path), model.fingerprint)


def test_networks_loaded_by_many_threads_leave_standard_error_where_it_is(
    model: Model, capfd: pytest.CaptureFixture[str]
) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: LiteRtRuntime(model.content, model.network), range(24)))
    os.write(2, b"still here")
    assert capfd.readouterr().err == "still here"
