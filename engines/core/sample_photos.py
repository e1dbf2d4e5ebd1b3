"""Made-up fruit photos: small JPEGs on white whose classes differ in shape, colour and texture.

A class is drawn from (seed, kind), a view of it from (seed, number): rotation, scale, light. Equal arguments give equal
bytes with one version of Pillow and numpy, on every CPU.
"""

from __future__ import annotations

import functools
import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

SIDE = 100
"""Height and width in pixels, as in Fruits-360."""

_QUALITY = 88
_HARMONICS = np.arange(2, 6)

_COLOURS = {
    "Amber": (0.10, 0.9),
    "Crimson": (0.96, 0.9),
    "Emerald": (0.36, 0.8),
    "Golden": (0.13, 0.8),
    "Ivory": (0.14, 0.25),
    "Lilac": (0.78, 0.4),
    "Olive": (0.21, 0.75),
    "Russet": (0.05, 0.7),
    "Scarlet": (0.0, 0.95),
    "Violet": (0.74, 0.8),
    "Yellow": (0.16, 0.95),
}
"""Name -> hue and saturation, each in [0, 1]."""

_FRUITS = ("Apple", "Berry", "Cherry", "Fig", "Guava", "Lemon", "Mango", "Melon", "Orange", "Papaya", "Pear", "Plum")

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class _Kind:
    """What the views of a class share: outline, two colours, and how they blend."""

    aspect: float
    bumps: Float32
    phases: Float32
    base: Float32
    second: Float32
    blend: float
    stripes: int
    speckles: float
    gloss: float


def class_name(kind: int) -> str:
    """The folder of class number `kind`: distinct for every number, some with spaces and digits as in Fruits-360."""
    colour, fruit = tuple(_COLOURS)[kind % len(_COLOURS)], _FRUITS[kind % len(_FRUITS)]
    lap = kind // (len(_COLOURS) * len(_FRUITS))
    return f"{fruit} {colour} {lap + 1}" if lap else f"{fruit} {colour}"


def encode_photo(seed: int, number: int, kind: int, view: int) -> bytes:
    """A JPEG of class `kind`, 100 x 100 pixels. `view` and `number` make it differ from its like."""
    pixels = _render(_kind(seed, kind), np.random.default_rng([seed, kind, view, number]))
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "JPEG", quality=_QUALITY)
    return sink.getvalue()


@functools.lru_cache(maxsize=256)
def _kind(seed: int, kind: int) -> _Kind:
    random = np.random.default_rng([seed, kind])
    hue, saturation = tuple(_COLOURS.values())[kind % len(_COLOURS)]
    hue += random.uniform(-0.02, 0.02)
    return _Kind(
        aspect=random.uniform(0.6, 1.0),
        bumps=(random.normal(0.0, 0.09, len(_HARMONICS)) / (_HARMONICS - 1)).astype(np.float32),
        phases=random.uniform(0, 2 * np.pi, len(_HARMONICS)).astype(np.float32),
        base=_rgb(hue, saturation, random.uniform(0.5, 0.95)),
        second=_rgb(
            hue + random.uniform(-0.12, 0.12), saturation * random.uniform(0.5, 1.0), random.uniform(0.3, 0.95)
        ),
        blend=random.uniform(0.0, 0.9),
        stripes=int(random.choice([0, 0, 0, 3, 5, 8])),
        speckles=float(random.choice([0.0, 0.0, 0.08, 0.2])),
        gloss=random.uniform(0.0, 0.6),
    )


@functools.cache
def _grid() -> tuple[Float32, Float32]:
    axis = (np.arange(SIDE, dtype=np.float32) - (SIDE - 1) / 2) / (SIDE / 2)
    across, down = np.meshgrid(axis, axis)
    return across, down


def _render(kind: _Kind, random: np.random.Generator) -> npt.NDArray[np.uint8]:
    """uint8[100, 100, 3] of one view."""
    across, down = _grid()
    angle, scale, light = random.uniform(0, 2 * np.pi), random.uniform(0.72, 0.92), random.uniform(0, 2 * np.pi)
    cos, sin = np.float32(np.cos(angle) / scale), np.float32(np.sin(angle) / scale)
    x, y = across * cos + down * sin, (down * cos - across * sin) / np.float32(kind.aspect)
    radius = np.sqrt(x * x + y * y)
    theta = _rounded(np.arctan2(y, x, dtype=np.float64))
    outline = np.ones_like(radius)
    for harmonic, bump, phase in zip(_HARMONICS, kind.bumps, kind.phases, strict=True):
        outline += bump * _rounded(np.cos(np.float32(harmonic) * theta + phase, dtype=np.float64))
    depth = radius / outline  # 0 in the middle, 1 at the edge
    height = np.sqrt(np.clip(1 - depth * depth, 0, 1))
    lit = across * np.float32(np.cos(light)) + down * np.float32(np.sin(light))
    shade = 0.45 + 0.45 * height + 0.25 * lit * np.float32(random.uniform(0.6, 1.2))
    mix = np.float32(kind.blend) * (0.5 + 0.5 * x)
    if kind.stripes:
        mix = mix + 0.35 * (_rounded(np.cos(np.float32(kind.stripes) * theta, dtype=np.float64)) > 0.3)
    if kind.speckles:
        mix = mix + (random.random((SIDE, SIDE), dtype=np.float32) < kind.speckles) * np.float32(0.5)
    mix = np.clip(mix, 0, 1)[..., np.newaxis]
    colour = (kind.base * (1 - mix) + kind.second * mix) * shade[..., np.newaxis]
    colour += (np.float32(kind.gloss) * np.clip(height * 1.2 + 0.4 * lit - 1.05, 0, 1) * 3)[..., np.newaxis]
    cover = np.clip((1 - depth) * (SIDE / 2.5), 0, 1)[..., np.newaxis]  # a soft edge of about a pixel
    return (np.clip(colour * cover + (1 - cover), 0, 1) * 255).astype(np.uint8)


def _rounded(values: npt.NDArray[np.float64]) -> Float32:
    """Sines of float32 differ in the last bit from one CPU to the next, those of float64 far behind it."""
    return values.astype(np.float32)


def _rgb(hue: float, saturation: float, value: float) -> Float32:
    """HSV to RGB, by the piecewise linear form of Smith 1978."""
    sectors = (np.array([5.0, 3.0, 1.0]) + hue * 6) % 6
    return (value - value * saturation * np.clip(np.minimum(sectors, 4 - sectors), 0, 1)).astype(np.float32)
