"""What a file says about its photo is kept away from what decodes its pixels.

Pillow reads every block of metadata while it opens a file and fails when one is damaged, or larger than it likes. Of
JPEG and PNG the decoder is given the blocks that determine pixels, and the orientation is read from the rest.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass
from typing import Any

from PIL import ExifTags, Image

_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')
_MAX_TEXT = 2**24
"""So many bytes of a compressed text are searched for an orientation."""

_PNG = b"\x89PNG\r\n\x1a\n"
_XMP_KEYWORD = b"XML:com.adobe.xmp"
_EXIF_KEYWORD = b"Raw profile type exif"
_XMP_SEGMENT = b"http://ns.adobe.com/xap/1.0/\0"


@dataclass(frozen=True, slots=True)
class Picture:
    """An image file apart: `pixels` is the file for the decoder; `exif` and `xmp` may hold an orientation.

    `scan_components` is how many components the first scan of a JPEG has (0: not known).
    """

    pixels: bytes
    exif: bytes | None = None
    xmp: bytes | None = None
    scan_components: int = 0


def take_apart(content: bytes) -> Picture | None:
    """A JPEG or PNG without the blocks that have no part in its pixels; None for any other format."""
    if content.startswith(_PNG):
        return _png(content)
    return _jpeg(content) if content.startswith(b"\xff\xd8\xff") else None


def metadata_of(image: Image.Image) -> tuple[bytes | None, bytes | None]:
    """What an opened image of another format holds of EXIF and XMP."""
    xmp = image.info.get("XML:com.adobe.xmp") or image.info.get("xmp")
    return image.info.get("exif"), xmp.encode() if isinstance(xmp, str) else xmp


def orientation(exif: bytes | None, xmp: bytes | None) -> int:
    """How a photo is to be turned (EXIF 2.32, 4.6.4: 1 to 8, 1 is upright). EXIF comes before XMP.

    Metadata that cannot be read turn nothing.
    """
    value: Any = None
    try:
        if exif:
            block = Image.Exif()
            block.load(exif)
            value = block.get(ExifTags.Base.Orientation)
    except Exception:  # Pillow raises SyntaxError, struct.error, TypeError and more on damaged EXIF.
        value = None
    if value is None and xmp and (match := _XMP_ORIENTATION.search(xmp)):
        value = int(match[1])
    return next((known for known in range(2, 9) if known == value), 1)


def _jpeg(content: bytes) -> Picture:
    """Without application segments and comments, apart from those that say how colours are coded: JFIF and Adobe."""
    kept, exif, xmp, position = [content[:2]], None, None, 2
    while True:
        marker = content[position + 1] if position + 4 <= len(content) and content[position] == 0xFF else 0
        length = int.from_bytes(content[position + 2 : position + 4], "big")
        end = position + 2 + length
        if marker == 0xDA:
            scan = content[position + 4 : position + 5]
            return Picture(b"".join([*kept, content[position:]]), exif, xmp, scan[0] if scan else 0)
        if not 0xC0 <= marker <= 0xFE or 0xD0 <= marker <= 0xD9 or length < 2 or end > len(content):
            # No regular header: the decoder says what it makes of it.
            return Picture(b"".join([*kept, content[position:]]), exif, xmp)
        body = content[position + 4 : end]
        if marker == 0xE1 and body.startswith(b"Exif\0\0"):
            exif = body if exif is None else exif + body[6:]
        elif marker == 0xE1 and body.startswith(_XMP_SEGMENT):
            xmp = body[len(_XMP_SEGMENT) :]
        # Shorter ones are none to libjpeg (jdmarker.c: APP0_DATA_LEN, APP14_DATA_LEN).
        jfif = marker == 0xE0 and body.startswith(b"JFIF\0") and len(body) >= 14
        adobe = marker == 0xEE and body.startswith(b"Adobe") and len(body) >= 12
        if jfif or adobe or not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            kept.append(content[position:end])
        position = end


def _png(content: bytes) -> Picture:
    """Without ancillary chunks, apart from tRNS; chunks that are kept keep their checksums, right or wrong."""
    kept, position = [_PNG], len(_PNG)
    found: dict[str, bytes] = {}
    while True:
        length, kind = int.from_bytes(content[position : position + 4], "big"), content[position + 4 : position + 8]
        end = position + 12 + length
        if kind == b"IEND" or end > len(content) or not (kind.isalpha() and kind.isascii()):
            # A chunk for EXIF came late to PNG, and is believed before the text that was used until then.
            return Picture(
                b"".join([*kept, content[position:]]), found.get("exif", found.get("text")), found.get("xmp")
            )
        if kind == b"tRNS" or not kind[0] & 0x20:
            kept.append(content[position:end])
        elif kind in {b"eXIf", b"tEXt", b"zTXt", b"iTXt"}:
            body = content[position + 8 : end - 4]
            if zlib.crc32(kind + body) == struct.unpack(">I", content[end - 4 : end])[0]:
                found |= _png_metadata(kind, body)
        position = end


def _png_metadata(kind: bytes, body: bytes) -> dict[str, bytes]:
    """What a chunk holds of an orientation, if anything: `exif`, the same as `text`, or `xmp`."""
    if kind == b"eXIf":
        return {"exif": body}
    keyword, _, text = body.partition(b"\0")
    if keyword not in {_XMP_KEYWORD, _EXIF_KEYWORD}:
        return {}
    compressed = kind == b"zTXt"
    if kind == b"zTXt":
        text = text[1:]
    elif kind == b"iTXt":
        compressed = text[:1] != b"\0"
        text = text[2:].split(b"\0", 2)[-1]
    try:
        if compressed:
            text = zlib.decompressobj().decompress(text, _MAX_TEXT)
        if keyword == _XMP_KEYWORD:
            return {"xmp": text}
        # ImageMagick's way: a blank line, the name, the length, then hexadecimal digits.
        return {"text": bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode("latin-1"))}
    except (zlib.error, ValueError):
        return {}
