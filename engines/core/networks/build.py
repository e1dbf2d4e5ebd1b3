"""Build and convert the network with TensorFlow: `python -m engines.core.networks.build WEIGHTS RUNTIME FOLDER`.

Writes `network.bin` and `facts.json` into FOLDER, or `failure.json` (message, hint) and exits with 1. Run by
`engines.core.networks.prepare` in a process of its own.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import socket
import sys
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from engines.core.networks.images import SIDE, decode
from engines.core.sample_photos import encode_photo

_DOWNLOAD_TIMEOUT_SECONDS = 30
_CALIBRATION_PHOTOS = 64


class BuildError(Exception):
    """The network cannot be built from these weights: (message, hint)."""


def build_network(weights: str) -> keras.Model:
    """MobileNetV2 without head: uint8[n, 224, 224, 3] -> float32[n, 1280].

    x / 127.5 - 1 (`keras.applications.mobilenet_v2.preprocess_input`) is part of the graph. Raises BuildError.
    """
    base = _calibrated_network() if weights == "random" else _pretrained_network(weights)
    pixels = keras.Input((SIDE, SIDE, 3), dtype="uint8")
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(keras.ops.cast(pixels, "float32"))
    return keras.Model(pixels, base(scaled))


def to_flatbuffer(network: keras.Model) -> bytes:
    """The network as a LiteRT flatbuffer in float32: no quantization, no optimization that changes numbers."""
    content: bytes = tf.lite.TFLiteConverter.from_keras_model(network).convert()
    return content


def to_archive(network: keras.Model, scratch: Path) -> bytes:
    """The network as a Keras archive. Unlike Keras' own, equal networks give equal bytes: dates and addresses go."""
    network.save(scratch)
    sink = io.BytesIO()
    with zipfile.ZipFile(scratch) as saved, zipfile.ZipFile(sink, "w") as archive:
        for name in sorted(saved.namelist()):
            content = saved.read(name)
            if name == "metadata.json":
                facts = json.loads(content)
                del facts["date_saved"]
                content = json.dumps(facts, sort_keys=True).encode()
            if name == "config.json":  # objects are told apart by their address in memory: number them instead
                numbers: dict[bytes, int] = {}
                content = re.sub(
                    rb'(?<="shared_object_id": )\d+',
                    lambda address: b"%d" % numbers.setdefault(address[0], len(numbers)),  # noqa: B023 - used at once
                    content,
                )
            archive.writestr(zipfile.ZipInfo(name), content)
    scratch.unlink()
    return sink.getvalue()


def _pretrained_network(weights: str) -> Any:
    socket.setdefaulttimeout(_DOWNLOAD_TIMEOUT_SECONDS)
    try:
        return keras.applications.MobileNetV2(
            weights=weights, include_top=False, pooling="avg", input_shape=(SIDE, SIDE, 3)
        )
    except Exception as error:
        # Keras raises bare Exception for downloads, and ValueError, KeyError or OSError for files that do not fit.
        detail = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        if weights == "imagenet":
            raise BuildError(
                f"the ImageNet weights cannot be downloaded: {detail}",
                "Check the network, or give a file of weights: --weights FILE.",
            ) from error
        raise BuildError(
            f"{weights} does not hold weights of MobileNetV2 1.0 224 without head: {detail}",
            "Use a file saved from keras.applications.MobileNetV2(include_top=False, pooling='avg').",
        ) from error


def _calibrated_network() -> Any:
    """Random weights, for machines without network, with features of a useful spread.

    With Keras' initialization alone the signal dies out (features near 1e-12). One pass over made-up photos in training
    mode, with a momentum of 0, gives every batch normalization the mean and variance it meets.
    """
    keras.utils.set_random_seed(0)
    tf.config.experimental.enable_op_determinism()
    base = keras.applications.MobileNetV2(weights=None, include_top=False, pooling="avg", input_shape=(SIDE, SIDE, 3))
    for layer in base.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    photos = [decode(encode_photo(seed=0, number=number, kind=number, view=0)) for number in range(_CALIBRATION_PHOTOS)]
    base(np.stack(photos).astype(np.float32) / 127.5 - 1.0, training=True)
    return base


def _weights_digest(network: keras.Model) -> str:
    digest = hashlib.sha256()
    for array in network.get_weights():
        digest.update(np.ascontiguousarray(array, dtype="<f4").tobytes())
    return digest.hexdigest()


def _main(weights: str, runtime: str, folder: Path) -> int:
    try:
        network = build_network(weights)
    except BuildError as error:
        (folder / "failure.json").write_text(json.dumps(error.args))
        return 1
    target = folder / "network.bin"
    if runtime == "litert":
        target.write_bytes(to_flatbuffer(network))
    else:
        target.write_bytes(to_archive(network, folder / "network.keras"))
    facts = {
        "graph_sha256": hashlib.sha256(target.read_bytes()).hexdigest(),
        "weights_sha256": _weights_digest(network),
    }
    (folder / "facts.json").write_text(json.dumps(facts))
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
