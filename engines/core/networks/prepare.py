"""From weights to a model: build the network with Keras, cut its head, convert it once, cache the result.

TensorFlow runs in a process of its own (this module's `__main__`), so the caller neither waits for its import when the
model is cached nor keeps its memory afterwards.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from engines.core.errors import DamagedError, DownloadError, InputError, StageError
from engines.core.networks.base import Network
from engines.core.networks.choices import check_runtime
from engines.core.networks.model import Model, library_versions, make_recipe
from engines.core.networks.table import DEFAULT_NETWORK, network_named
from engines.core.proof.reading import damaged, read_json, read_proven, sealed_json
from engines.core.scratch import scratch_folder
from engines.core.storage import open_storage

CONVERSION = 1
"""Counted up whenever `engines.core.networks.build` would build another graph from the same weights."""

_CALIBRATION = 2
"""Counted up whenever `engines.core.networks.calibrate` would give other weights."""

NETWORK, FACTS = "network.bin", "facts.json"
"""The files of a cache entry: the converted network, and the digests of it and of the weights it was made of."""

_UNFINISHED = ".unfinished-"

_STEPS = 4
"""The lines that `engines.core.networks.build` prints."""

_LOGGER = logging.getLogger("fruits.model")

_KERAS_WEIGHTS = "model.weights.h5"
_SAVE_AS = "Use Keras weights without head, as saved by save_weights(FILE.weights.h5) or save(FILE.keras)."
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"  # HDF5 file format specification, version 3.0, II.A


def _unwatched(_done: int, _total: int) -> None:
    pass


def prepare_model(
    weights: str,
    runtime: str,
    cache: Path,
    network: str = DEFAULT_NETWORK,
    on_step: Callable[[int, int], None] = _unwatched,
) -> Model:
    """The model of `network` with `weights` (`imagenet`, `random`, or a file of Keras weights without head).

    Converted in about 30 s with TensorFlow at the first call, which tells `on_step` how many steps are done, and of how
    many; later calls read it from the folder `cache`. Raises InputError for an unknown network or runtime, a file that
    is missing, not HDF5 or of the wrong shapes, ImageNet weights that cannot be downloaded, and a TensorFlow that is
    not installed.
    """
    check_runtime(runtime)
    built = network_named(network)
    library_versions(runtime)  # raises when the runtime is not installed
    name = weights if weights in ("imagenet", "random") else check_weights_file(weights)
    converter = _converter_version()
    known = {"imagenet": "imagenet", "random": f"random {_CALIBRATION}"}
    identity = known[weights] if weights in known else _sha256(Path(weights))
    key = hashlib.sha256(json.dumps([network, identity, runtime, converter, CONVERSION]).encode()).hexdigest()[:20]
    entry = cache / "models" / key
    cached = _read_cached(entry)
    if cached is None:
        _convert(built, weights, runtime, entry, on_step)
        cached = _read_cached(entry)
    if cached is None:
        raise StageError(
            f"the cache {cache} does not keep what is written there", "Check its disk, or set FRUITS_CACHE."
        )
    content, weights_sha256 = cached
    recipe = make_recipe(content, built, runtime=runtime, weights=name, weights_sha256=weights_sha256)
    return Model(content, recipe)


def _read_cached(entry: Path) -> tuple[bytes, str] | None:
    """The network of a cache entry and the digest of its weights; None for one that is to be made: it is not there, or
    damaged, which is said.
    """
    storage = open_storage(str(entry))
    try:
        facts = read_json(storage, FACTS)
        content = read_proven(storage, NETWORK).content
        if hashlib.sha256(content).hexdigest() != facts.get("graph_sha256") or not facts.get("weights_sha256"):
            raise damaged(storage, NETWORK, "corrupt", f"its bytes are not those that {FACTS} says")
    except DamagedError as damage:
        if entry.exists():
            _LOGGER.warning("in the cache, %s; it is made again", damage.message)
        return None
    return content, facts["weights_sha256"]


def check_weights_file(weights: str) -> str:
    """The name of a file of weights. Raises InputError for one that is missing, and neither HDF5 nor a Keras archive.

    Of a Keras archive (`.keras`) its weights alone are read: what it says of a model is not, and runs no code.
    """
    path = Path(weights)
    if not path.is_file():
        raise InputError(
            f"the weights file {weights} does not exist", "Give imagenet, random, or a file: --weights FILE."
        )
    if path.suffix == ".keras":
        if not zipfile.is_zipfile(path) or _KERAS_WEIGHTS not in zipfile.ZipFile(path).namelist():
            raise InputError(f"{weights} is not a Keras archive", _SAVE_AS)
        return path.name
    with path.open("rb") as file:
        if file.read(len(_HDF5_SIGNATURE)) != _HDF5_SIGNATURE:
            raise InputError(f"{weights} is not an HDF5 file", _SAVE_AS)
    return path.name


def _converter_version() -> str:
    try:
        return version("tensorflow")
    except PackageNotFoundError:
        raise InputError(
            "TensorFlow is needed to convert the network, and is not installed",
            "Install fruit-features[tensorflow] where the flow runs; the workers do not need it.",
        ) from None


def _convert(network: Network, weights: str, runtime: str, entry: Path, on_step: Callable[[int, int], None]) -> None:
    _LOGGER.info(
        "converting %s, once: half a minute for MobileNetV2, more on a busy machine; it is cached in %s",
        network.architecture.partition(",")[0],
        entry.parent,
    )
    entry.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(_UNFINISHED, str(entry.parent)) as folder:
        arguments = [
            *(sys.executable, "-P", "-m", "engines.core.networks.build"),  # -P: not the modules of the current folder
            *(network.name, weights, runtime, folder, str(os.getpid())),
        ]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
        on_step(0, _STEPS)
        with (
            Path(folder, "errors").open("w+") as errors,
            subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
        ):
            assert process.stdout is not None  # noqa: S101 - a pipe
            for number, _ in enumerate(process.stdout, start=1):
                on_step(number, _STEPS)
            process.wait()
            errors.seek(0)
            said = errors.read()
        failure = Path(folder, "failure.json")
        if failure.is_file():
            kind = DownloadError if weights == "imagenet" else InputError
            raise kind(*json.loads(failure.read_text()))
        if process.returncode != 0:
            raise StageError(f"the network could not be converted (exit {process.returncode})", said[-2000:])
        facts = json.loads(Path(folder, FACTS).read_text())
        Path(folder, FACTS).write_bytes(sealed_json(facts, FACTS))
        # Facts last: an entry without them does not count.
        entry.mkdir(exist_ok=True)
        for name in (NETWORK, FACTS):
            os.replace(Path(folder, name), entry / name)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
