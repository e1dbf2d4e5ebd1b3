"""EfficientNetV2-B0 (Tan, Le 2021, arXiv:2104.00298): more accurate than MobileNetV2, at about twice its cost."""

from __future__ import annotations

from typing import Any

from engines.core.networks.base import Network
from engines.core.reduce.grid import Grid

SIDE = 224


def build(weights: str | None) -> Any:
    """Keras' EfficientNetV2B0 without head, with global average pooling; scales its input itself."""
    import keras

    return keras.applications.EfficientNetV2B0(
        weights=weights, include_top=False, pooling="avg", input_shape=(SIDE, SIDE, 3)
    )


EFFICIENTNET_V2_B0 = Network(
    name="efficientnet_v2_b0",
    architecture="EfficientNetV2B0 224, global average pooling",
    side=SIDE,
    features=1280,
    grid=Grid(-1.0, 31.0),  # swish is above -0.28 and has no upper bound
    divisor=1.0,
    offset=0.0,
    build=build,
)
