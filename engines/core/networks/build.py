"""Build and convert a network: `python -m engines.core.networks.build NETWORK WEIGHTS RUNTIME FOLDER PARENT`.

Writes `network.bin` and `facts.json` into FOLDER, or `failure.json` (message, hint) and exits with 1. Run by
`engines.core.networks.prepare`, the process PARENT, in one of its own, which has TensorFlow; prints a line behind each
of its four steps.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import socket
import sys
import zipfile
from pathlib import Path
from typing import IO, Any

import keras
import numpy as np
import tensorflow as tf

from engines.core.endings import end_with
from engines.core.networks.base import Network
from engines.core.networks.calibrate import calibrated
from engines.core.networks.table import network_named

_DOWNLOAD_TIMEOUT_SECONDS = 30


class BuildError(Exception):
    """The network cannot be built from these weights: (message, hint)."""


def build_network(network: Network, weights: str) -> keras.Model:
    """The network without head: uint8[n, side, side, 3] -> float32[n, features].

    The scaling of the pixels is part of the graph. Raises BuildError.
    """
    base = calibrated(network) if weights == "random" else _pretrained(network, weights)
    _check_numbers(base, weights)
    pixels = keras.Input((network.side, network.side, 3), dtype="uint8")
    scaled = keras.layers.Rescaling(1 / network.divisor, offset=network.offset)(keras.ops.cast(pixels, "float32"))
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


def _pretrained(network: Network, weights: str) -> Any:
    socket.setdefaulttimeout(_DOWNLOAD_TIMEOUT_SECONDS)
    try:
        return network.build(weights)
    except Exception as error:
        # Keras raises bare Exception for downloads, and ValueError, KeyError or OSError for files that do not fit.
        detail = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        if weights == "imagenet":
            raise BuildError(
                f"the ImageNet weights cannot be downloaded: {detail}",
                "Check the network, or give a file of weights: --weights FILE.",
            ) from error
        raise BuildError(
            f"{weights} does not hold weights of {network.architecture.partition(',')[0]} without head: {detail}",
            f"Use a file saved from Keras' {network.name} with include_top=False and pooling='avg'.",
        ) from error


def _check_numbers(base: Any, weights: str) -> None:
    """Raise BuildError for weights that are not numbers: every feature would be none either."""
    for layer in base.layers:
        if not all(np.isfinite(array).all() for array in layer.get_weights()):
            raise BuildError(
                f"{weights} holds values that are not numbers, in the layer {layer.name}",
                "Training has failed, or the file is damaged: use other weights.",
            )


def _weights_digest(network: keras.Model) -> str:
    digest = hashlib.sha256()
    for array in network.get_weights():
        digest.update(np.ascontiguousarray(array, dtype="<f4").tobytes())
    return digest.hexdigest()


def _main(network_name: str, weights: str, runtime: str, folder: Path, steps: IO[str]) -> int:
    print("TensorFlow", file=steps, flush=True)
    try:
        network = build_network(network_named(network_name), weights)
    except BuildError as error:
        (folder / "failure.json").write_text(json.dumps(error.args))
        return 1
    print("network", file=steps, flush=True)
    target = folder / "network.bin"
    if runtime == "litert":
        target.write_bytes(to_flatbuffer(network))
    else:
        target.write_bytes(to_archive(network, folder / "network.keras"))
    print("conversion", file=steps, flush=True)
    facts = {
        "graph_sha256": hashlib.sha256(target.read_bytes()).hexdigest(),
        "weights_sha256": _weights_digest(network),
    }
    (folder / "facts.json").write_text(json.dumps(facts))
    print("files", file=steps, flush=True)
    return 0


if __name__ == "__main__":
    end_with(int(sys.argv[5]))
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else is printed, such as how far a download is
    sys.exit(_main(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4]), output))
