"""Every kind of file ends as the right 224 x 224 pixels, or as a reject with its reason."""

from __future__ import annotations

import io
import pickle
import struct
import subprocess
import sys
import warnings
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engines.core.networks.images import MAX_PIXELS, decode
from engines.core.networks.mobilenet_v2 import SIDE
from engines.core.rejects import REASONS, RejectedImageError

RED, GREEN, BLUE, GREY = (255, 0, 0), (0, 255, 0), (0, 0, 255), (128, 128, 128)
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def quadrants(*colours: Any, mode: str = "RGB", size: tuple[int, int] = (60, 60)) -> Image.Image:
    """Four rectangles: upper left, upper right, lower left, lower right."""
    width, height = size
    image = Image.new(mode, size)
    corners = [(0, 0), (width // 2, 0), (0, height // 2), (width // 2, height // 2)]
    for (left, top), colour in zip(corners, colours, strict=True):
        image.paste(colour, (left, top, left + width // 2, top + height // 2))
    return image


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    sink = io.BytesIO()
    image.save(sink, form, **options)
    return sink.getvalue()


def assert_quadrants(content: bytes, *colours: tuple[int, int, int], tolerance: int = 1) -> None:
    pixels = decode(content, 224)
    assert pixels.shape == (224, 224, 3)
    assert pixels.dtype == np.uint8
    centres = pixels[[56, 56, 168, 168], [56, 168, 56, 168]].astype(int)
    np.testing.assert_allclose(centres, colours, atol=tolerance)


COLOURED = quadrants(RED, GREEN, BLUE, GREY)
GREYS = [(value, value, value) for value in (0, 90, 180, 255)]


@pytest.mark.parametrize("form", ["PNG", "WEBP", "BMP", "TIFF", "PPM"])
def test_lossless_formats_keep_their_colours(form: str) -> None:
    options = {"lossless": True} if form == "WEBP" else {}
    assert_quadrants(encoded(COLOURED, form, **options), RED, GREEN, BLUE, GREY)


@pytest.mark.parametrize("options", [{"quality": 95}, {"quality": 95, "progressive": True}, {"subsampling": 0}])
def test_jpeg(options: dict[str, Any]) -> None:
    assert_quadrants(encoded(COLOURED, "JPEG", **options), RED, GREEN, BLUE, GREY, tolerance=6)


def test_grey() -> None:
    assert_quadrants(encoded(quadrants(0, 90, 180, 255, mode="L"), "PNG"), *GREYS)


def test_palette() -> None:
    assert_quadrants(encoded(COLOURED.convert("P", palette=Image.Palette.ADAPTIVE), "PNG"), RED, GREEN, BLUE, GREY)


def test_palette_with_transparency_is_laid_over_white() -> None:
    image = COLOURED.convert("P", palette=Image.Palette.ADAPTIVE)
    green = image.getpixel((45, 15))
    assert_quadrants(encoded(image, "PNG", transparency=green), RED, WHITE, BLUE, GREY)


def test_rgb_with_a_transparent_colour_is_laid_over_white() -> None:
    assert_quadrants(encoded(COLOURED, "PNG", transparency=BLUE), RED, GREEN, WHITE, GREY)


def test_alpha_is_laid_over_white() -> None:
    image = quadrants((*RED, 255), (*GREEN, 0), (*BLUE, 128), (*BLACK, 128), mode="RGBA")
    assert_quadrants(encoded(image, "PNG"), RED, WHITE, (127, 127, 255), (127, 127, 127))


def test_grey_with_alpha_is_laid_over_white() -> None:
    image = quadrants((0, 255), (0, 0), (0, 128), (200, 255), mode="LA")
    assert_quadrants(encoded(image, "PNG"), BLACK, WHITE, (127, 127, 127), (200, 200, 200))


@pytest.mark.parametrize("form", ["TIFF", "JPEG"])
def test_cmyk(form: str) -> None:
    image = quadrants((0, 255, 255, 0), (255, 0, 255, 0), (255, 255, 0, 0), (0, 0, 0, 127), mode="CMYK")
    assert_quadrants(encoded(image, form), RED, GREEN, BLUE, GREY, tolerance=8)


def test_one_bit() -> None:
    assert_quadrants(encoded(quadrants(0, 1, 1, 0, mode="1"), "PNG"), BLACK, WHITE, WHITE, BLACK)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_clipped(form: str) -> None:
    values = np.kron(np.array([[0, 90 * 256], [180 * 256, 65535]], np.uint16), np.ones((30, 30), np.uint16))
    image = Image.fromarray(values)
    assert image.mode == "I;16"
    assert_quadrants(encoded(image, form), *GREYS)


def test_thirty_two_bit_tiff_of_sixteen_bit_values() -> None:
    values = np.kron(np.array([[0, 90 * 256], [180 * 256, 65535]], np.int32), np.ones((30, 30), np.int32))
    assert_quadrants(encoded(Image.fromarray(values), "TIFF"), *GREYS)


# What has to be done to the upright image so that a viewer that follows the tag undoes it (EXIF 2.32, 4.6.4).
@pytest.mark.parametrize(
    ("orientation", "stored"),
    [
        (1, (RED, GREEN, BLUE, GREY)),
        (2, (GREEN, RED, GREY, BLUE)),
        (3, (GREY, BLUE, GREEN, RED)),
        (4, (BLUE, GREY, RED, GREEN)),
        (5, (RED, BLUE, GREEN, GREY)),
        (6, (GREEN, GREY, RED, BLUE)),
        (7, (GREY, GREEN, BLUE, RED)),
        (8, (BLUE, RED, GREY, GREEN)),
    ],
)
def test_exif_orientation_is_applied(orientation: int, stored: tuple[Any, ...]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(quadrants(*stored), "JPEG", quality=95, subsampling=0, exif=exif)
    assert_quadrants(content, RED, GREEN, BLUE, GREY, tolerance=6)


def test_damaged_exif_does_not_matter_to_the_pixels(recwarn: pytest.WarningsRecorder) -> None:
    content = encoded(COLOURED, "JPEG", quality=95, exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01")
    assert_quadrants(content, RED, GREEN, BLUE, GREY, tolerance=6)
    assert not recwarn.list


def test_of_an_animation_the_first_frame() -> None:
    other = quadrants(GREY, GREY, GREY, GREY)
    content = encoded(COLOURED, "GIF", save_all=True, append_images=[other, other], duration=100)
    assert_quadrants(content, RED, GREEN, BLUE, GREY)


def test_a_multi_picture_jpeg_gives_its_first_picture() -> None:
    content = encoded(COLOURED, "MPO", save_all=True, append_images=[quadrants(GREY, GREY, GREY, GREY)], quality=95)
    assert_quadrants(content, RED, GREEN, BLUE, GREY, tolerance=6)


def test_the_whole_image_is_resized_whatever_its_shape() -> None:
    assert_quadrants(encoded(quadrants(RED, GREEN, BLUE, GREY, size=(400, 20)), "PNG"), RED, GREEN, BLUE, GREY)
    assert decode(encoded(Image.new("RGB", (1, 1), RED), "PNG"), 224).tolist() == [[list(RED)] * 224] * 224


def test_pixels_are_pillows_bicubic() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8))
    expected = np.asarray(noise.resize((224, 224), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(decode(encoded(noise, "PNG"), 224), expected)


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF", "GIF"])
def test_the_first_image_of_a_process_may_have_any_format(form: str) -> None:
    # Pillow knows few formats until it has met others: the outcome must not depend on what came before.
    script = (
        "import sys; from engines.core.networks.images import decode; print(decode(sys.stdin.buffer.read(), 224).shape)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], input=encoded(COLOURED, form), capture_output=True, check=False
    )
    assert done.stdout.split() == b"(224, 224, 3)".split(), done.stderr.decode()


def png(width: int, height: int, data: bytes) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def flipped(content: bytes, position: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 0x10]) + content[position + 1 :]


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8))
JPEG = encoded(NOISE, "JPEG")
PNG = encoded(NOISE, "PNG")

REJECTED = {
    "no bytes": (b"", "empty"),
    "text": (b"not an image at all\n", "not_an_image"),
    "zeros": (bytes(1000), "not_an_image"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported_format"),
    "web page": (b"<!doctype html><title>404</title>", "not_an_image"),
    "eps, which Pillow would hand to another program": (
        b"%!PS-Adobe-3.0\n%%BoundingBox: 0 0 9 9\n",
        "unsupported_format",
    ),
    "jpeg cut in its header": (JPEG[:20], "not_an_image"),
    "jpeg cut in half": (JPEG[: len(JPEG) // 2], "truncated"),
    "jpeg without its last bytes": (JPEG[:-10], "truncated"),
    "png cut in half": (PNG[: len(PNG) // 2], "truncated"),
    "gif cut in half": (encoded(NOISE, "GIF")[:6000], "truncated"),
    "tiff cut in half": (encoded(NOISE, "TIFF")[:6000], "truncated"),
    "png with fewer rows than it says": (png(100, 100, bytes(500)), "truncated"),
    "png with a damaged pixel": (flipped(PNG, 20_000), "undecodable"),
    "webp cut in half": (encoded(NOISE, "WEBP")[:1500], "undecodable"),
    "one pixel too many": (png(MAX_PIXELS + 1, 1, b""), "too_large"),
    "bomb that Pillow warns of": (png(10_000, 10_000, b""), "too_large"),
    "bomb that Pillow refuses": (png(100_000, 100_000, b""), "too_large"),
}


@pytest.mark.parametrize(("content", "reason"), REJECTED.values(), ids=REJECTED.keys())
def test_what_is_no_complete_image_is_rejected_with_its_reason(content: bytes, reason: str) -> None:
    with warnings.catch_warnings(action="error"), pytest.raises(RejectedImageError) as first:
        decode(content, 224)
    assert first.value.reason == reason
    assert reason in REASONS
    assert first.value.detail
    with pytest.raises(RejectedImageError) as second:
        decode(content, 224)
    assert second.value.detail == first.value.detail, "the same file must give the same reject row"
    assert "0x" not in first.value.detail


def test_the_largest_image_allowed_is_not_rejected_for_its_size() -> None:
    with pytest.raises(RejectedImageError) as reject:
        decode(png(MAX_PIXELS // 8192, 8192, b""), SIDE)
    assert reject.value.reason == "truncated"


def test_a_reject_survives_the_way_from_a_worker() -> None:
    reject = pickle.loads(pickle.dumps(RejectedImageError("empty", "the file has no bytes")))  # noqa: S301
    assert (reject.reason, reject.detail) == ("empty", "the file has no bytes")
