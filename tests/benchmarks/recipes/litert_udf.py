"""The same LiteRT network as the chain's, as a class that other engines call on batches of files."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from engines.core.networks.prepare import prepare_model
from engines.core.networks.runtimes import open_runtime
from flows.checks import cache_folder


class Featurizer:
    """Reads the model from the user's cache; one interpreter with one thread."""

    def __init__(self, weights: str) -> None:
        self.runtime = open_runtime(prepare_model(weights, "litert", cache_folder()))

    def features(self, content: bytes) -> npt.NDArray[np.float32]:
        """float32[1280] of one file."""
        image = Image.open(io.BytesIO(content)).convert("RGB").resize((224, 224))
        return self.runtime.features(np.asarray(image))
