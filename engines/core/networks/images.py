"""From the bytes of a file to the pixels the network sees."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

# Pillow registers a format when its module is imported, and otherwise only once it meets a file of it.
from PIL import (
    BmpImagePlugin,  # noqa: F401
    GifImagePlugin,  # noqa: F401
    Image,
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    PpmImagePlugin,  # noqa: F401
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
)

from engines.core.networks.image_formats import DECODED, name_of_undecoded
from engines.core.networks.image_memory import BAND_PIXELS, MAX_MEMORY, memory_to_decode
from engines.core.networks.image_metadata import Picture, metadata_of, orientation, take_apart
from engines.core.rejects import REASONS, RejectedImageError

MAX_PIXELS = 2**26
"""Images of more pixels are rejected before they are decoded: 67 megapixels, 268 MB as RGB in Pillow."""


def preprocessing(side: int) -> str:
    """Names what `decode` does. Changed whenever its pixels change, as it is part of a model's fingerprint."""
    return f"exif, rgb over white, {side}x{side} bicubic, uint8; 1"


Turn = Image.Transpose
_TURNS = {
    2: Turn.FLIP_LEFT_RIGHT,
    3: Turn.ROTATE_180,
    4: Turn.FLIP_TOP_BOTTOM,
    5: Turn.TRANSPOSE,
    6: Turn.ROTATE_270,
    7: Turn.TRANSVERSE,
    8: Turn.ROTATE_90,
}
"""What brings a photo upright, by its orientation (EXIF 2.32, 4.6.4)."""


def decode(content: bytes, side: int, max_memory: int = MAX_MEMORY) -> npt.NDArray[np.uint8]:
    """The pixels of an image file: uint8[side, side, 3], RGB.

    Orientation is applied, transparency is laid over white, 16-bit grey is scaled to 8 bit, floating-point grey in
    [0, 1] too, any other mode is converted to RGB, and the whole image is resized with Pillow's bicubic filter. Of an
    animation, the first frame. What the file says of its photo besides never decides.

    Raises RejectedImageError for anything that is not a complete image of up to MAX_PIXELS, or whose decoding needs
    more than `max_memory` bytes besides the file: the image in Pillow (1 byte a pixel for palettes and 8-bit grey, 2
    for 16-bit grey, else 4), what its decoder holds, and some 20 MB.
    """
    if not content:
        raise RejectedImageError("empty", REASONS["empty"])
    picture = take_apart(content)
    try:
        # Pillow warns of metadata, and of many pixels: neither says anything about these pixels below MAX_PIXELS.
        with warnings.catch_warnings(action="ignore"):
            return _decode(picture, content, side, max_memory)
    except RejectedImageError:
        raise
    except UnidentifiedImageError:
        if name := name_of_undecoded(content):
            raise RejectedImageError("unsupported_format", f"{name}, which is not decoded") from None
        raise RejectedImageError("not_an_image", REASONS["not_an_image"]) from None
    except Image.DecompressionBombError as error:
        raise RejectedImageError("too_large", _plain(error)) from error
    except MemoryError as error:
        raise RejectedImageError("too_large", "the machine has no memory left to decode it (MemoryError)") from error
    except Exception as error:
        # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and more on damaged data. Only bytes in
        # memory are touched here, so whatever is raised is a fact about the image.
        reason = "truncated" if "truncated" in str(error).lower() else "undecodable"
        raise RejectedImageError(reason, _plain(error)) from error


def _decode(picture: Picture | None, content: bytes, side: int, max_memory: int) -> npt.NDArray[np.uint8]:
    pixels = picture.pixels if picture else content
    with Image.open(io.BytesIO(pixels), formats=DECODED) as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise RejectedImageError("too_large", f"{width} x {height} pixels")
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            _forget_metadata(image)
        needed = memory_to_decode(image, side, picture.scan_components if picture else 0)
        if needed > max_memory:
            detail = f"{width} x {height} pixels of {image.format} need {needed / 1e6:,.0f} MB to decode"
            raise RejectedImageError("too_large", f"{detail}, {max_memory / 1e6:,.0f} MB are allowed")
        image.load()
        if image.format == "PNG":
            _check_png(pixels)
        exif, xmp = (picture.exif, picture.xmp) if picture else metadata_of(image)
        # Pillow has turned a TIFF already.
        return _resize(image, side, 1 if image.format == "TIFF" else orientation(exif, xmp))


def _check_png(content: bytes) -> None:
    """Raise when a checksum of the file is wrong: Pillow decodes damaged pixels without a word."""
    with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
        image.verify()


def _forget_metadata(image: TiffImagePlugin.TiffImageFile) -> None:
    """Leave of a TIFF's metadata its orientation: Pillow reads all of them while it loads pixels, and may fail."""
    _, xmp = metadata_of(image)
    if xmp is not None:
        image.info["xmp"] = xmp
    exif = image.getexif()
    for tag in list(exif):
        if tag != 0x0112:
            del exif[tag]


def _resize(image: Image.Image, side: int, orientation: int) -> npt.NDArray[np.uint8]:
    """The upright image as uint8[side, side, 3], RGB.

    Bands of rows are turned upright, converted and resized in width one after the other, then all in height. Pillow's
    filter does first the one and then the other, and a row's pixels depend on no other row: the bits are those of
    converting and resizing the whole, without its copies.
    """
    to_255 = _is_unit_range(image) if image.mode == "F" else False
    turn = _TURNS.get(orientation)
    width, height = image.size if orientation < 5 else image.size[::-1]
    narrow = Image.new("RGB", (side, height))
    for top, bottom in _bands(width, height):
        band = image.crop(_stored_box((0, top, width, bottom), image.size, orientation))
        if turn is not None:
            band = band.transpose(turn)
        narrow.paste(_to_rgb(band, to_255).resize((side, bottom - top), Image.Resampling.BICUBIC), (0, top))
    return np.asarray(narrow.resize((side, side), Image.Resampling.BICUBIC))


def _bands(width: int, height: int) -> Iterator[tuple[int, int]]:
    """Rows from and to, of up to BAND_PIXELS each."""
    rows = max(1, BAND_PIXELS // width)
    for top in range(0, height, rows):
        yield top, min(top + rows, height)


def _stored_box(box: tuple[int, int, int, int], size: tuple[int, int], orientation: int) -> tuple[int, int, int, int]:
    """Where in the stored image of `size` a box of the upright one lies."""
    left, top, right, bottom = box
    width, height = size
    if orientation in {5, 6, 7, 8}:
        left, top, right, bottom = top, left, bottom, right
    if orientation in {2, 3, 7, 8}:
        left, right = width - right, width - left
    if orientation in {3, 4, 6, 7}:
        top, bottom = height - bottom, height - top
    return left, top, right, bottom


def _is_unit_range(image: Image.Image) -> bool:
    """Whether floating-point pixels lie in [0, 1]. Raises RejectedImageError unless they do, or lie in [0, 255]."""
    low, high = np.inf, -np.inf
    for top, bottom in _bands(*image.size):
        band = np.asarray(image.crop((0, top, image.size[0], bottom)))
        low, high = np.minimum(low, band.min()), np.maximum(high, band.max())
    # Both comparisons are false for NaN, which `min` and `max` hand on.
    if not (low >= 0 and high <= 255):
        raise RejectedImageError("value_range", f"floating-point pixels from {low:g} to {high:g}")
    return bool(high <= 1)


def _to_rgb(image: Image.Image, to_255: bool) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode == "I":
        # Pillow's own conversion clips at 255; these hold 16 bits a pixel.
        grey = (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if to_255:
        return Image.fromarray(np.rint(np.asarray(image) * np.float32(255)).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        white = Image.new("RGBA", coloured.size, "white")
        return Image.alpha_composite(white, coloured).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _plain(error: BaseException) -> str:
    """The error's text without memory addresses, so that every attempt writes the same reject row."""
    return re.sub(r" at 0x[0-9a-f]+", "", f"{type(error).__name__}: {error}")
