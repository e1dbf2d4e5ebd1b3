"""How much memory an image needs while it is decoded, from what its file says before any pixel is read."""

from __future__ import annotations

from typing import Any

from PIL import Image

MAX_MEMORY = 500_000_000
"""Bytes one image may need besides its file; more is a reject. 67 megapixels of any mode fit as PNG or plain JPEG."""

BAND_PIXELS = 2**18
"""So many pixels are converted to RGB at once, in whole rows."""

_BAND_BYTES = 32
"""A pixel of a band at most: copies as it is, as RGBA, white, blended and RGB, of 4 bytes; grey as 64-bit integers."""

_COEFFICIENT_BYTES = 32
"""Pillow's bicubic filter takes 4 float64 for each row and each column of the image (Resample.c, precompute_coeffs)."""

_BITS_PER_SAMPLE, _ORIENTATION, _ROWS_PER_STRIP, _TILE_WIDTH, _TILE_LENGTH = 258, 274, 278, 322, 323
"""Tags of TIFF 6.0."""

_WEBP_BYTES = 13
"""libwebp's animation decoder: two canvases and the frame on its way to Python, of 4 bytes a pixel, and its own state.
Measured on images of 16 megapixels, lossy and lossless, with and without alpha: 12.3."""


def memory_to_decode(image: Image.Image, side: int, scan_components: int) -> int:
    """Bytes that decoding this opened image and resizing it to `side` x `side` will need at most, without the file.

    `scan_components` is how many components the first scan of a JPEG has.
    """
    width, height = image.size
    pixels = width * height
    turned = max(image.size)  # Orientation may make rows of columns.
    band = max(BAND_PIXELS, turned) * _BAND_BYTES
    resize = 4 * side * turned + _COEFFICIENT_BYTES * (width + height)
    return (
        pixels * _bytes_per_pixel(image.mode)
        + _decoder(image, pixels, scan_components)
        + min(band, 64 * pixels)
        + resize
    )


def _bytes_per_pixel(mode: str) -> int:
    if mode in {"1", "L", "P"}:
        return 1
    return 2 if mode.startswith("I;16") else 4


def _decoder(image: Image.Image, pixels: int, scan_components: int) -> int:
    """What the format's decoder holds besides the image itself."""
    if image.format == "JPEG":
        return _jpeg(image, pixels, scan_components)
    if image.format == "WEBP":
        return _WEBP_BYTES * pixels
    if image.format == "TIFF":
        return _tiff(image, pixels)
    if any(tile[0] in {"ppm", "ppm_plain", "bmp_rle"} for tile in getattr(image, "tile", ())):
        # Decoders in Python, which gather the whole image twice.
        return 2 * pixels * _bytes_per_pixel(image.mode)
    return 0


def _jpeg(image: Any, pixels: int, scan_components: int) -> int:
    """The coefficients of the whole image, if its scans do not hold all components: 2 bytes each (libjpeg)."""
    if not image.info.get("progressive") and scan_components == image.layers:
        return 0
    samples = [(down, across) for _, down, across, _ in image.layer]
    whole = max((down for down, _ in samples), default=1) * max((across for _, across in samples), default=1)
    return int(2 * pixels * sum(down * across for down, across in samples) / max(1, whole))


def _tiff(image: Any, pixels: int) -> int:
    """The largest strip or tile, decompressed, and a second image if the photo is turned."""
    turned = pixels * _bytes_per_pixel(image.mode) if image.getexif().get(_ORIENTATION, 1) != 1 else 0
    if image.tile and image.tile[0][0] == "raw":
        return turned
    width, height = image.size
    rows = _whole(image, _TILE_LENGTH, min(_whole(image, _ROWS_PER_STRIP, height), height))
    bits = image.tag_v2.get(_BITS_PER_SAMPLE, (8,))
    # libtiff turns what is stored as luminance and chrominance into RGBA, 4 bytes a pixel, besides the strip.
    return int(turned + _whole(image, _TILE_WIDTH, width) * rows * (sum(bits) / 8 + 4))


def _whole(image: Any, tag: int, default: int) -> int:
    """The tag's value; the default if it is none."""
    value = image.tag_v2.get(tag)
    return value if isinstance(value, int) and value > 0 else default
