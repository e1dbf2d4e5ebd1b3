"""MobileNetV2, width 1.0 (Sandler et al. 2018, arXiv:1801.04381): the default."""

from __future__ import annotations

from typing import Any

from engines.core.networks.base import Network
from engines.core.reduce.grid import Grid

SIDE = 224


def build(weights: str | None) -> Any:
    """Keras' MobileNetV2 without head, with global average pooling."""
    import keras

    return keras.applications.MobileNetV2(
        weights=weights, include_top=False, pooling="avg", input_shape=(SIDE, SIDE, 3)
    )


MOBILENET_V2 = Network(
    name="mobilenet_v2",
    architecture="MobileNetV2 1.0 224, global average pooling",
    side=SIDE,
    features=1280,  # table 2 of the paper
    grid=Grid(0.0, 8.0),  # averages of ReLU6 are in [0, 6]
    divisor=127.5,  # keras.applications.mobilenet_v2.preprocess_input
    offset=-1.0,
    build=build,
)
