"""From the bytes of a file to the pixels the network sees."""

from __future__ import annotations

import io
import re
import warnings

import numpy as np
import numpy.typing as npt

# Pillow registers a format when its module is imported, and otherwise only once it meets a file of it.
from PIL import (
    BmpImagePlugin,  # noqa: F401
    GifImagePlugin,  # noqa: F401
    Image,
    ImageOps,
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    PpmImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
)

from engines.core.rejects import MAX_PIXELS, REASONS, RejectedImageError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""The formats that are tried, whatever the file's name. Pillow knows more; some of them run other programs."""


def preprocessing(side: int) -> str:
    """Names what `decode` does. Changed whenever its pixels change, as it is part of a model's fingerprint."""
    return f"exif, rgb over white, {side}x{side} bicubic, uint8; 1"


def decode(content: bytes, side: int) -> npt.NDArray[np.uint8]:
    """The pixels of an image file: uint8[side, side, 3], RGB.

    EXIF orientation is applied, transparency is laid over white, 16-bit grey is scaled to 8 bit, any other mode is
    converted to RGB, and the whole image is resized with Pillow's bicubic filter. Of an animation, the first frame.
    Raises RejectedImageError for anything that is not a complete image of up to MAX_PIXELS.
    """
    if not content:
        raise RejectedImageError("empty", REASONS["empty"])
    try:
        # Pillow warns of metadata, and of many pixels: neither says anything about these pixels below MAX_PIXELS.
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(content), formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise RejectedImageError("too_large", f"{width} x {height} pixels")
            image.load()
            if image.format == "PNG":
                _check_png(content)
            upright = ImageOps.exif_transpose(image)
            return np.asarray(_to_rgb(upright).resize((side, side), Image.Resampling.BICUBIC))
    except (RejectedImageError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise RejectedImageError("not_an_image", REASONS["not_an_image"]) from None
    except Image.DecompressionBombError as error:
        raise RejectedImageError("too_large", _plain(error)) from error
    except Exception as error:
        # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and more on damaged data. Only bytes in
        # memory are touched here, so whatever is raised is a fact about the image.
        reason = "truncated" if "truncated" in str(error).lower() else "undecodable"
        raise RejectedImageError(reason, _plain(error)) from error


def _check_png(content: bytes) -> None:
    """Raise when a checksum of the file is wrong: Pillow decodes damaged pixels without a word."""
    with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
        image.verify()


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode == "I":
        # Pillow's own conversion clips at 255; these hold 16 bits a pixel.
        grey = (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        white = Image.new("RGBA", coloured.size, "white")
        return Image.alpha_composite(white, coloured).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _plain(error: BaseException) -> str:
    """The error's text without memory addresses, so that every attempt writes the same reject row."""
    return re.sub(r" at 0x[0-9a-f]+", "", f"{type(error).__name__}: {error}")
