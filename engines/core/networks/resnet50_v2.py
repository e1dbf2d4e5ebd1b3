"""ResNet-50 V2 (He et al. 2016, arXiv:1603.05027): 2048 features, at about ten times the cost of MobileNetV2."""

from __future__ import annotations

from typing import Any

from engines.core.networks.base import Network
from engines.core.reduce.grid import Grid

SIDE = 224


def build(weights: str | None) -> Any:
    """Keras' ResNet50V2 without head, with global average pooling."""
    import keras

    return keras.applications.ResNet50V2(weights=weights, include_top=False, pooling="avg", input_shape=(SIDE, SIDE, 3))


RESNET50_V2 = Network(
    name="resnet50_v2",
    architecture="ResNet50V2 224, global average pooling",
    side=SIDE,
    features=2048,
    grid=Grid(0.0, 32.0),  # ReLU has no upper bound
    divisor=127.5,  # keras.applications.resnet_v2.preprocess_input
    offset=-1.0,
    build=build,
)
