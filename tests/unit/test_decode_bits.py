"""Photos are converted in bands of rows; the pixels are those of converting the whole at once, to the bit.

The reference is how photos were decoded when the first outputs were published: those outputs stay valid.
"""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageOps

from engines.core.networks import images
from engines.core.networks.images import decode
from engines.core.networks.mobilenet_v2 import SIDE
from tests.unit.test_images import encoded


def decode_at_once(content: bytes) -> npt.NDArray[np.uint8]:
    """The pixels by the shortest way, without regard to memory."""
    with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(content)) as image:
        image.load()
        upright = ImageOps.exif_transpose(image)
        return np.asarray(to_rgb(upright).resize((224, 224), Image.Resampling.BICUBIC))


def to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode == "I":
        return Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", coloured.size, "white"), coloured).convert("RGB")
    return image.convert("RGB")


def noise(mode: str, size: tuple[int, int]) -> Image.Image:
    width, height = size
    rng = np.random.default_rng(width * 10_000 + height)
    if mode in {"I;16", "I"}:
        return Image.fromarray(
            rng.integers(0, 2**16, (height, width)).astype(np.uint16 if mode == "I;16" else np.int32)
        )
    if mode == "F":
        return Image.fromarray(rng.uniform(0, 255, (height, width)).astype(np.float32))
    if mode in {"1", "P"}:
        grey = Image.fromarray(rng.integers(0, 256, (height, width), dtype=np.uint8))
        return grey.convert("1") if mode == "1" else grey.convert("RGB").quantize(64)
    bands = len(Image.new(mode, (1, 1)).getbands())
    return Image.merge(
        mode, [Image.fromarray(rng.integers(0, 256, (height, width), dtype=np.uint8)) for _ in range(bands)]
    )


MODES = [
    ("JPEG", "L", {}),
    ("JPEG", "RGB", {}),
    ("JPEG", "RGB", {"progressive": True}),
    ("JPEG", "RGB", {"keep_rgb": True}),
    ("JPEG", "CMYK", {}),
    ("PNG", "1", {}),
    ("PNG", "L", {}),
    ("PNG", "L", {"transparency": 7}),
    ("PNG", "LA", {}),
    ("PNG", "P", {}),
    ("PNG", "P", {"transparency": 3}),
    ("PNG", "P", {"transparency": bytes(range(0, 256, 4))}),
    ("PNG", "RGB", {}),
    ("PNG", "RGBA", {}),
    ("PNG", "I;16", {}),
    ("GIF", "P", {}),
    ("GIF", "P", {"transparency": 3}),
    ("WEBP", "RGB", {"lossless": True}),
    ("WEBP", "RGBA", {"quality": 80}),
    ("BMP", "1", {}),
    ("BMP", "P", {}),
    ("BMP", "RGB", {}),
    ("TIFF", "1", {}),
    ("TIFF", "L", {"compression": "tiff_lzw"}),
    ("TIFF", "LA", {}),
    ("TIFF", "P", {}),
    ("TIFF", "RGB", {"compression": "jpeg"}),
    ("TIFF", "RGBA", {"compression": "tiff_adobe_deflate"}),
    ("TIFF", "CMYK", {}),
    ("TIFF", "LAB", {}),
    ("TIFF", "I;16", {}),
    ("TIFF", "I", {}),
    ("TIFF", "F", {}),
    ("PPM", "1", {}),
    ("PPM", "L", {}),
    ("PPM", "I", {}),
    ("PPM", "RGB", {}),
]
ORIENTED = {"JPEG", "PNG", "WEBP", "TIFF"}
SIZES = [(1, 1), (1, 300), (300, 1), (224, 224), (224, 301), (301, 224), (97, 61), (500, 331)]


@pytest.mark.parametrize(
    ("form", "mode", "options"), MODES, ids=[f"{form} {mode} {'+'.join(options)}" for form, mode, options in MODES]
)
def test_bands_give_the_bits_of_the_whole(
    form: str, mode: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "BAND_PIXELS", 3_000)
    for size in SIZES:
        content = encoded(noise(mode, size), form, **options)
        np.testing.assert_array_equal(decode(content, SIDE), decode_at_once(content), err_msg=str(size))


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("form", sorted(ORIENTED))
def test_turned_bands_give_the_bits_of_the_turned_whole(
    form: str, orientation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "BAND_PIXELS", 3_000)
    exif = Image.Exif()
    exif[0x0112] = orientation
    for mode in ("L", "RGB") if form == "JPEG" else ("RGB", "RGBA"):
        content = encoded(noise(mode, (201, 83)), form, exif=exif)
        np.testing.assert_array_equal(decode(content, SIDE), decode_at_once(content))


def test_a_photo_of_several_real_bands() -> None:
    content = encoded(noise("RGBA", (1201, 907)), "PNG", compress_level=1)
    np.testing.assert_array_equal(decode(content, SIDE), decode_at_once(content))
