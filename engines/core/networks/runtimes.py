"""Running the network: pixels of one image in, its features out.

One image at a time: on the CPUs measured a batch is no faster with one thread, and an image's features then cannot
depend on its neighbours.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from engines.core.networks.base import Network
from engines.core.networks.model import Model


class Runtime(Protocol):
    """Computes features with one loaded network."""

    def features(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """uint8[side, side, 3] -> float32[features], the global average pooling of the network."""
        ...


class LiteRtRuntime:
    """LiteRT with one thread. Workers need only `ai-edge-litert`, no TensorFlow."""

    def __init__(self, content: bytes, network: Network) -> None:  # noqa: ARG002 - as the others
        from ai_edge_litert.interpreter import Interpreter

        with _without_notice():
            self._interpreter: Any = Interpreter(model_content=content, num_threads=1)
            self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]

    def features(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """See Runtime."""
        self._interpreter.set_tensor(self._input, pixels[np.newaxis])
        self._interpreter.invoke()
        row: npt.NDArray[np.float32] = self._interpreter.get_tensor(self._output)[0]
        return row


class TensorFlowRuntime:
    """Keras on TensorFlow: the reference."""

    def __init__(self, content: bytes, network: Network) -> None:
        import keras
        import tensorflow as tf

        with tempfile.NamedTemporaryFile(suffix=".keras") as file:
            file.write(content)
            file.flush()
            loaded = keras.models.load_model(file.name, compile=False)
        signature = [tf.TensorSpec((1, network.side, network.side, 3), tf.uint8)]
        self._run = tf.function(lambda pixels: loaded(pixels, training=False), input_signature=signature)

    def features(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """See Runtime."""
        row: npt.NDArray[np.float32] = self._run(pixels[np.newaxis]).numpy()[0]
        return row


_NOTICE = b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU."
_redirecting = threading.Lock()


@contextlib.contextmanager
def _without_notice() -> Iterator[None]:
    """Keep LiteRT's notice of its delegate, which no option turns off, out of standard error; all else goes there."""
    # Standard error is the process's: two threads at once would each restore what the other has put there.
    with _redirecting, tempfile.TemporaryFile() as captured:
        kept = os.dup(2)
        os.dup2(captured.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            captured.seek(0)
            others = b"".join(line for line in captured if line.rstrip() != _NOTICE)
            if others:
                os.write(2, others)


_loaded = threading.local()


def open_runtime(model: Model) -> Runtime:
    """The runtime for `model`, loaded once per thread and kept until another model is asked for.

    Raises InputError when this process has other library versions than the model's recipe names.
    """
    if getattr(_loaded, "fingerprint", None) != model.fingerprint:
        model.check_worker()
        kind = LiteRtRuntime if model.recipe["runtime"] == "litert" else TensorFlowRuntime
        _loaded.runtime = kind(model.content, model.network)
        _loaded.fingerprint = model.fingerprint
    runtime: Runtime = _loaded.runtime
    return runtime
