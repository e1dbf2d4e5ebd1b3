"""A reject is for pixels that cannot be had: what a file says about its photo decides nothing but which side is up."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from engines.core.networks.image_metadata import orientation
from engines.core.networks.images import decode
from engines.core.networks.mobilenet_v2 import SIDE
from engines.core.rejects import RejectedImageError
from tests.unit.test_images import BLUE, COLOURED, GREEN, GREY, RED, assert_quadrants, encoded, quadrants

LYING = quadrants(GREEN, GREY, RED, BLUE)
"""Upright once it is turned by orientation 6."""


def entry(tag: int, kind: int, count: int, value: bytes) -> bytes:
    return struct.pack("<HHI", tag, kind, count) + value.ljust(4, b"\0")


ORIENTATION_6 = entry(0x0112, 3, 1, struct.pack("<H", 6))


def exif(*entries: bytes) -> bytes:
    """A block of EXIF with one directory; values longer than 4 bytes all point to the same text."""
    head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(entries) + bytes(4)
    return b"Exif\0\0" + head.ljust(200, b"\0") + b"neither a number nor a date at all  "


FAR = struct.pack("<I", 200)
ODD_TAGS = {
    "XMP as text": entry(0x02BC, 2, 36, FAR),
    "ResolutionUnit as a rational": entry(0x0128, 5, 1, FAR),
    "ResolutionUnit as text": entry(0x0128, 2, 4, b"cm\0\0"),
    "XResolution as text": entry(0x011A, 2, 36, FAR),
    "DateTime as numbers": entry(0x0132, 4, 8, FAR),
    "Make as a float": entry(0x010F, 11, 1, struct.pack("<f", 1.5)),
    "an ExifIFD that points nowhere": entry(0x8769, 4, 1, struct.pack("<I", 0xFFFFFF)),
    "a GPS IFD as text": entry(0x8825, 2, 36, FAR),
    "a tag of an unknown type": entry(0x9C9B, 99, 4, FAR),
    "a value outside the file": entry(0x010E, 2, 4000, struct.pack("<I", 0xFFFFFF)),
}


@pytest.mark.parametrize("odd", ODD_TAGS.values(), ids=ODD_TAGS.keys())
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_a_photo_is_turned_whatever_its_other_tags_are(form: str, odd: bytes) -> None:
    options = {"lossless": True} if form == "WEBP" else {"quality": 95, "subsampling": 0} if form == "JPEG" else {}
    content = encoded(LYING, form, exif=exif(*sorted([ORIENTATION_6, odd])), **options)
    assert_quadrants(content, RED, GREEN, BLUE, GREY, tolerance=6)


def tiff(*entries: bytes) -> bytes:
    """A TIFF of 60 x 60 RGB pixels, uncompressed, with some more tags."""
    pixels = 600
    tags = [
        entry(256, 3, 1, struct.pack("<H", 60)),
        entry(257, 3, 1, struct.pack("<H", 60)),
        entry(258, 3, 3, struct.pack("<I", 300)),
        entry(259, 3, 1, struct.pack("<H", 1)),
        entry(262, 3, 1, struct.pack("<H", 2)),
        entry(273, 4, 1, struct.pack("<I", pixels)),
        entry(277, 3, 1, struct.pack("<H", 3)),
        entry(278, 3, 1, struct.pack("<H", 60)),
        entry(279, 4, 1, struct.pack("<I", 60 * 60 * 3)),
        *entries,
    ]
    tags.sort(key=lambda tag: struct.unpack("<H", tag[:2]))
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(tags) + bytes(4)
    head = head.ljust(200, b"\0") + b"neither a number nor a date at all  "
    return head.ljust(300, b"\0") + struct.pack("<HHH", 8, 8, 8).ljust(300, b"\0") + LYING.tobytes()


# In a TIFF the directory is also what holds the pixels together: one that points outside of the file is damaged.
@pytest.mark.parametrize("name", sorted(ODD_TAGS.keys() - {"a value outside the file"}))
def test_a_tiff_is_turned_whatever_its_other_tags_are(name: str) -> None:
    assert_quadrants(tiff(ORIENTATION_6, ODD_TAGS[name]), RED, GREEN, BLUE, GREY)


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


JPEG = encoded(COLOURED, "JPEG", quality=95, subsampling=0)
SEGMENTS = {
    "an ICC profile without its number": segment(0xE2, b"ICC_PROFILE\0"),
    "a third of an ICC profile": segment(0xE2, b"ICC_PROFILE\0\x02\x03profile"),
    "a short JFIF": segment(0xE0, b"JFIF\0"),
    "a short Adobe": segment(0xEE, b"Adobe"),
    "pictures that are not there": segment(0xE2, b"MPF\0II*\0\x08\0\0\0\xff\xff\x12\x01"),
    "a short Photoshop block": segment(0xED, b"Photoshop 3.0\x008BIM"),
    "a comment": segment(0xFE, bytes(range(256))),
    "an XMP that is none": segment(0xE1, b'http://ns.adobe.com/xap/1.0/\0\xff\xfe tiff:Orientation="9"'),
    "EXIF cut short": segment(0xE1, b"Exif\0\0II*"),
    "EXIF of another byte order": segment(0xE1, b"Exif\0\0XX*\0\x08\0\0\0"),
    "EXIF that points to itself": segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\x01\0\x69\x87\x04\0\x01\0\0\0\x08\0\0\0"),
}


@pytest.mark.parametrize("block", SEGMENTS.values(), ids=SEGMENTS.keys())
def test_segments_of_a_jpeg_that_hold_no_pixels_change_none(block: bytes) -> None:
    np.testing.assert_array_equal(decode(JPEG[:2] + block + JPEG[2:], SIDE), decode(JPEG, SIDE))


@pytest.mark.parametrize(
    "form", ["<x tiff:Orientation='6' tiff:Orientation=\"6\"/>", "<tiff:Orientation>6</tiff:Orientation>"]
)
def test_xmp_turns_a_photo_that_has_no_exif(form: str) -> None:
    content = encoded(LYING, "JPEG", quality=95, subsampling=0)
    block = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + form.encode())
    assert_quadrants(content[:2] + block + content[2:], RED, GREEN, BLUE, GREY, tolerance=6)
    assert orientation(exif(entry(0x0112, 3, 1, b"\x01\0")), form.encode()) == 1, "EXIF comes before XMP"


def chunk(kind: bytes, body: bytes, *, right: bool = True) -> bytes:
    checksum = zlib.crc32(kind + body) ^ (0 if right else 1)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def with_chunk(content: bytes, block: bytes, where: str) -> bytes:
    """After the header, which ends at byte 33, or before the end, which has 12 bytes."""
    position = 33 if where == "before the pixels" else len(content) - 12
    return content[:position] + block + content[position:]


PNG = encoded(COLOURED, "PNG")
LARGE = bytes(2_000_000)
XMP_6 = b"XML:com.adobe.xmp\0\0\0\0\0<tiff:Orientation>6</tiff:Orientation>"
CHUNKS = {
    "an ICC profile of 2 MB": chunk(b"iCCP", b"large\0\0" + zlib.compress(LARGE)),
    "an ICC profile of 200 MB": chunk(b"iCCP", b"large\0\0" + zlib.compress(bytes(200_000_000), 1)),
    "a zTXt of 2 MB": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(LARGE)),
    "an iTXt of 2 MB": chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(LARGE)),
    "an XMP of 2 MB": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(LARGE)),
    "a text of 70 MB": chunk(b"tEXt", b"Comment\0" + bytes(70_000_000)),
    "an iCCP with a wrong checksum": chunk(b"iCCP", b"x\0\0" + zlib.compress(b"profile"), right=False),
    "a tEXt with a wrong checksum": chunk(b"tEXt", b"Comment\0hello", right=False),
    "EXIF with a wrong checksum": chunk(b"eXIf", exif(ORIENTATION_6)[6:], right=False),
    "XMP with a wrong checksum": chunk(b"iTXt", XMP_6, right=False),
    "zTXt of an unknown method": chunk(b"zTXt", b"Comment\0\x07hello"),
    "a short pHYs": chunk(b"pHYs", b"\0"),
    "a short gAMA": chunk(b"gAMA", b"\0"),
    "a short cHRM": chunk(b"cHRM", b"\0"),
    "an empty sRGB": chunk(b"sRGB", b""),
    "EXIF that is none": chunk(b"eXIf", b"nothing"),
    "raw EXIF that is none": chunk(b"tEXt", b"Raw profile type exif\0\nexif\n4\nzzzz"),
    "an animation without frames": chunk(b"acTL", b"\0"),
    "frames out of order": chunk(b"acTL", bytes([0, 0, 0, 2, 0, 0, 0, 0])) + chunk(b"fcTL", bytes([9] * 26)),
    "a chunk of nobody": chunk(b"quUx", b"hello", right=False),
}


@pytest.mark.parametrize("where", ["before the pixels", "after the pixels"])
@pytest.mark.parametrize("block", CHUNKS.values(), ids=CHUNKS.keys())
def test_chunks_of_a_png_that_hold_no_pixels_change_none(block: bytes, where: str) -> None:
    np.testing.assert_array_equal(decode(with_chunk(PNG, block, where), SIDE), decode(PNG, SIDE))


RAW_PROFILE = b"\nexif\n999\n" + exif(ORIENTATION_6).hex().encode()
TURNING = {
    "eXIf": chunk(b"eXIf", exif(ORIENTATION_6)[6:]),
    "XMP": chunk(b"iTXt", XMP_6),
    "compressed XMP": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(XMP_6.rsplit(b"\0", 1)[1])),
    "raw profile": chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(RAW_PROFILE)),
}


@pytest.mark.parametrize("where", ["before the pixels", "after the pixels"])
@pytest.mark.parametrize("block", TURNING.values(), ids=TURNING.keys())
def test_a_png_is_turned_by_any_of_its_ways_to_say_so(block: bytes, where: str) -> None:
    content = encoded(LYING, "PNG")
    turned = (
        content[:33] + block + content[33:] if where.startswith("before") else content[:-12] + block + content[-12:]
    )
    assert_quadrants(turned, RED, GREEN, BLUE, GREY)


def spoiled(content: bytes, kind: bytes) -> bytes:
    """The PNG with another checksum of its first chunk of this kind."""
    start = content.index(kind) - 4
    end = start + 12 + int.from_bytes(content[start : start + 4], "big")
    return content[: end - 1] + bytes([content[end - 1] ^ 1]) + content[end:]


PALETTE = encoded(COLOURED.quantize(8), "PNG", transparency=2)


@pytest.mark.parametrize("kind", [b"IHDR", b"PLTE", b"tRNS", b"IDAT"])
def test_a_wrong_checksum_in_what_makes_pixels_is_a_reject(kind: bytes) -> None:
    decode(PALETTE, SIDE)
    with pytest.raises(RejectedImageError) as reject:
        decode(spoiled(PALETTE, kind), SIDE)
    assert reject.value.reason in {"undecodable", "not_an_image"}


def test_floats_from_0_to_1_are_scaled() -> None:
    values = np.kron(np.array([[0, 90], [180, 255]], np.float32) / 255, np.ones((30, 30), np.float32))
    greys = [(value, value, value) for value in (0, 90, 180, 255)]
    assert_quadrants(encoded(Image.fromarray(values), "TIFF"), *greys)
    assert_quadrants(encoded(Image.fromarray(values * 255), "TIFF"), *greys)


@pytest.mark.parametrize(
    ("low", "high"), [(-0.1, 1), (0, 255.5), (0, 65535), (0, np.nan), (np.nan, 1), (-np.inf, np.inf)]
)
def test_other_floats_are_a_reject_that_names_their_range(low: float, high: float) -> None:
    values = np.full((60, 60), low, np.float32)
    values[30:] = high
    with pytest.raises(RejectedImageError) as reject:
        decode(encoded(Image.fromarray(values), "TIFF"), SIDE)
    assert reject.value.reason == "value_range"
    assert "from" in reject.value.detail


NAMED = {
    "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    "HEIC that says mif1": b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic",
    "AVIF": encoded(COLOURED, "AVIF"),
    "JPEG 2000": encoded(COLOURED, "JPEG2000"),
    "JPEG 2000, no container": encoded(COLOURED, "JPEG2000", no_jp2=True),
    "JPEG XL": b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\0",
    "Photoshop": b"8BPS\0\1",
    "PDF": b"%PDF-1.7\n",
    "SVG": b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- a drawing -->\n<svg xmlns='http://www.w3.org/2000/svg'/>",
    "QuickTime or MP4 video": b"\0\0\0\x14ftypqt  \0\0\0\0qt  ",
}


@pytest.mark.parametrize(("name", "content"), NAMED.items(), ids=NAMED.keys())
def test_a_format_that_is_not_decoded_is_named(name: str, content: bytes) -> None:
    with pytest.raises(RejectedImageError) as reject:
        decode(content, SIDE)
    assert reject.value.reason == "unsupported_format"
    assert reject.value.detail.startswith(name.split(" that", maxsplit=1)[0].split(",", maxsplit=1)[0])
