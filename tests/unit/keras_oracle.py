"""The oracle of features: `python keras_oracle.py WEIGHTS PHOTOS FEATURES` in a process of its own.

Keras as its documentation has it, and nothing of this project: `load_img`, `preprocess_input`, `predict` on floats.
PHOTOS is a JSON list of paths; FEATURES is written as .npy, float32[n, 1280].
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import keras
import numpy as np
from keras.applications import mobilenet_v2

_BATCH = 66


def pixels_of(photos: list[str]) -> np.ndarray:
    loaded = [keras.utils.load_img(photo, target_size=(224, 224), interpolation="bicubic") for photo in photos]
    return np.stack([keras.utils.img_to_array(photo) for photo in loaded])


def features_of(weights: str, photos: list[str]) -> np.ndarray:
    network = mobilenet_v2.MobileNetV2(weights=weights, include_top=False, pooling="avg", input_shape=(224, 224, 3))
    batches = [photos[start : start + _BATCH] for start in range(0, len(photos), _BATCH)]
    return np.concatenate(
        [network.predict(mobilenet_v2.preprocess_input(pixels_of(batch)), verbose=0) for batch in batches]
    )


if __name__ == "__main__":
    _, weights_file, photos_file, features_file = sys.argv
    np.save(features_file, features_of(weights_file, json.loads(Path(photos_file).read_text())))
