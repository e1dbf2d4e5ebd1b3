"""Random weights whose features have a useful spread, for machines without network: the same bits on every CPU.

With Keras' initialization alone the signal dies out (features near 1e-12). One pass over made-up photos gives every
batch normalization the mean and the variance it meets.

A forward pass in float32 differs by 1e-6 from one CPU to the next, and so would what is measured in it. Here the pass
is in float64, and what it measures is kept to 12 bits. Two CPUs differ near the last of 53, and so give another value
only if one lies within some 1e-13 of a border between two steps of 1e-4. The kernels are drawn by integer arithmetic
and one multiplication each. `tests/unit/test_golden.py` holds the digest.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from engines.core.networks.base import Network
from engines.core.networks.images import decode
from engines.core.sample_photos import encode_photo

Float64 = npt.NDArray[np.float64]

_PHOTOS = 32
_KEPT_BITS = 12


def calibrated(network: Network) -> Any:
    """The Keras model of `network` with random weights (float32). Equal versions of Keras give equal bits."""
    trained = network.build(None)
    wide = _wide(network)
    random = np.random.default_rng(0)
    for layer in wide.layers:
        for variable in layer.weights:
            if variable.name == "kernel":
                variable.assign(_kernel(random, variable.shape, depthwise="depthwise" in type(layer).__name__.lower()))
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0  # what is met in one pass is what is kept
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0  # it is by chance, and only in training
    wide(_pixels(network), training=True)
    for layer, measured in zip(trained.layers, wide.layers, strict=True):
        arrays = measured.get_weights()
        if isinstance(layer, keras.layers.BatchNormalization):
            arrays[-2:] = rounded_statistics(*arrays[-2:])  # behind them scale and shift, which are 1 and 0
        layer.set_weights([array.astype(np.float32) for array in arrays])
    return trained


def rounded_statistics(mean: Float64, variance: Float64) -> tuple[Float64, Float64]:
    """Both (float64[channels]) in whole steps of about 2^-12 standard deviations, and of 2^-12 of the variance itself.

    A mean is rounded beside its deviation, because between two linear layers it is 0 but for rounding.
    """
    mean_step = _power_of_two(np.sqrt(variance)) * 2.0**-_KEPT_BITS
    variance_step = _power_of_two(variance) * 2.0**-_KEPT_BITS
    # Adding 0 makes -0 a 0.
    return np.rint(mean / mean_step) * mean_step + 0.0, np.rint(variance / variance_step) * variance_step


def _power_of_two(values: Float64) -> Float64:
    """The next power of two above each, and at least 2^-20: a channel that is constant has a variance of noise."""
    return np.ldexp(1.0, np.frexp(np.maximum(values, 2.0**-21))[1])


def _wide(network: Network) -> Any:
    """The same model, computing in float64."""
    former = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    try:
        return network.build(None)
    finally:
        keras.config.set_dtype_policy(former)


def _kernel(random: np.random.Generator, shape: tuple[int, ...], *, depthwise: bool) -> npt.NDArray[np.float32]:
    """Uniform with variance 2 / inputs (He et al. 2015, equation 10), as whole multiples of 2^-23 of the range."""
    inputs = math.prod(shape[:2]) if depthwise else math.prod(shape[:-1])
    steps = random.integers(-(2**23), 2**23, shape, dtype=np.int32, endpoint=True)
    return steps.astype(np.float32) * np.float32(math.sqrt(6 / inputs) / 2**23)


def _pixels(network: Network) -> Float64:
    """float64[32, side, side, 3]: made-up photos as the network takes them."""
    files = [encode_photo(seed=0, number=number, kind=number, view=0) for number in range(_PHOTOS)]
    pixels = np.stack([decode(content, network.side) for content in files]).astype(np.float64)
    return pixels / network.divisor + network.offset
