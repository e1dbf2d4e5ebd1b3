"""One photo takes bounded memory: what it needs is computed before it is decoded, and is what it takes at most."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engines.core.networks import images
from engines.core.networks.image_memory import MAX_MEMORY, memory_to_decode
from engines.core.networks.images import decode
from engines.core.networks.mobilenet_v2 import SIDE
from engines.core.rejects import RejectedImageError
from tests.unit.test_images import COLOURED, encoded, png

linux = pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")


def measured(path: Path) -> dict[str, Any]:
    """Decode a file in a process of its own."""
    command = [sys.executable, "-m", "tests.decode_memory", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def large_png(bits: int, colour_type: int, channels: int, side: int = 8192) -> bytes:
    """A PNG of 67 megapixels and a few hundred kB."""
    packer = zlib.compressobj(1)
    row = b"\0" + bytes([200, 100] * (side * channels * bits // 16))
    data = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, bits, colour_type, 0, 0, 0)
    pieces = []
    for kind, body in ((b"IHDR", header), (b"IDAT", data), (b"IEND", b"")):
        pieces.append(struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(pieces)


@linux
@pytest.mark.parametrize(
    ("bits", "colour_type", "channels"),
    [(8, 6, 4), (8, 4, 2), (16, 0, 1), (16, 6, 4)],
    ids=["RGBA", "grey with alpha", "16-bit grey", "16-bit RGBA"],
)
def test_67_megapixels_of_any_png_take_less_than_the_limit(
    bits: int, colour_type: int, channels: int, tmp_path: Path
) -> None:
    file = tmp_path / "large.png"
    file.write_bytes(large_png(bits, colour_type, channels))
    outcome = measured(file)
    assert outcome["outcome"] == "features"
    assert outcome["growth"] < MAX_MEMORY


PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).resize((2048, 2048))
KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "jpeg": ("JPEG", "RGB", {}),
    "progressive jpeg": ("JPEG", "RGB", {"progressive": True}),
    "progressive jpeg of full colours": ("JPEG", "RGB", {"progressive": True, "subsampling": 0}),
    "progressive grey jpeg": ("JPEG", "L", {"progressive": True}),
    "progressive cmyk jpeg": ("JPEG", "CMYK", {"progressive": True}),
    "webp": ("WEBP", "RGB", {"method": 0}),
    "webp with alpha": ("WEBP", "RGBA", {"method": 0}),
    "lossless webp": ("WEBP", "RGBA", {"lossless": True, "method": 0, "quality": 0}),
    "gif": ("GIF", "P", {}),
    "bmp": ("BMP", "RGB", {}),
    "ppm": ("PPM", "RGB", {}),
    "tiff": ("TIFF", "RGB", {}),
    "lying tiff": ("TIFF", "RGB", {"tiffinfo": {274: 6}}),
    "tiff of one strip": ("TIFF", "RGBA", {"compression": "tiff_adobe_deflate", "tiffinfo": {278: 2048}}),
    "tiff of jpeg": ("TIFF", "RGB", {"compression": "jpeg"}),
    "png": ("PNG", "LA", {"compress_level": 1}),
}


@linux
@pytest.mark.parametrize(("form", "mode", "options"), KINDS.values(), ids=KINDS.keys())
def test_what_is_computed_beforehand_bounds_what_is_taken(
    form: str, mode: str, options: dict[str, Any], tmp_path: Path
) -> None:
    if mode == "RGBA":
        image = PHOTO.copy()
        image.putalpha(PHOTO.convert("L"))
    else:
        image = PHOTO.quantize(64) if mode == "P" else PHOTO.convert(mode)
    file = tmp_path / "image"
    file.write_bytes(encoded(image, form, **options))
    outcome = measured(file)
    assert outcome["outcome"] == "features"
    # Besides: copies of the file, and what libraries load and allocate once, whatever the image.
    assert outcome["growth"] < outcome["computed"] + 2 * file.stat().st_size + 8_000_000
    assert outcome["computed"] < 2.5 * outcome["growth"] + 30_000_000, "a bound far off would reject good photos"


def test_what_needs_more_than_the_limit_is_a_reject_that_says_so() -> None:
    content = encoded(COLOURED.resize((500, 500)), "PNG")
    with pytest.raises(RejectedImageError) as reject:
        decode(content, SIDE, max_memory=1_000_000)
    assert reject.value.reason == "too_large"
    assert reject.value.detail.startswith("500 x 500 pixels of PNG need ")
    assert reject.value.detail.endswith(" MB to decode, 1 MB are allowed")


@pytest.mark.parametrize(("width", "height"), [(2**26, 1), (1, 2**26)])
def test_a_line_of_pixels_is_a_reject_for_what_resizing_it_would_need(width: int, height: int) -> None:
    # The filter keeps 4 float64 a column; 224 pixels of each of 67 million rows would be 60 GB.
    with pytest.raises(RejectedImageError) as reject:
        decode(png(width, height, b""), SIDE)
    assert reject.value.reason == "too_large"


def test_a_machine_without_memory_is_a_reject_that_names_the_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(images, "_resize", exhausted)
    with pytest.raises(RejectedImageError) as reject:
        decode(encoded(COLOURED, "PNG"), SIDE)
    assert reject.value.reason == "too_large"
    assert "MemoryError" in reject.value.detail


def test_a_jpeg_in_scans_of_one_component_counts_its_coefficients() -> None:
    with Image.open(io.BytesIO(encoded(Image.new("RGB", (800, 600)), "JPEG", subsampling=0))) as image:
        at_once, apart = (memory_to_decode(image, 224, components) for components in (3, 1))
    assert apart - at_once == 800 * 600 * 3 * 2, "3 components of 2 bytes"
