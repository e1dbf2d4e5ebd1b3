"""Which formats are decoded, and the names of those that are not."""

from __future__ import annotations

import re

DECODED = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""The formats that are tried, whatever the file's name. Pillow knows more: some of them run other programs, and of some
(AVIF and JPEG 2000) it is not known that they give the same pixels to the bit on every CPU."""

DECODED_ENDINGS = {
    "jpg": "JPEG",
    "jpeg": "JPEG",
    "jpe": "JPEG",
    "jfif": "JPEG",
    "png": "PNG",
    "apng": "PNG",
    "webp": "WebP",
    "gif": "GIF",
    "bmp": "BMP",
    "tif": "TIFF",
    "tiff": "TIFF",
    "ppm": "PPM",
    "pgm": "PPM",
    "pbm": "PPM",
    "pnm": "PPM",
}
"""Endings of names, in lower case, of the formats that are decoded."""

UNDECODED_ENDINGS = frozenset({
    "heic", "heif", "hif", "avif", "jp2", "j2k", "jpx", "jxl", "jxr", "wdp", "psd", "xcf", "svg", "eps", "ico", "tga",
    "dds", "qoi", "exr", "hdr", "dcm", "fits", "dng", "cr2", "cr3", "crw", "nef", "nrw", "arw", "sr2", "srf", "orf",
    "rw2", "raf", "pef", "srw", "x3f", "3fr", "iiq", "raw",
})  # fmt: skip
"""Endings, in lower case, of photos and drawings of formats that are not decoded."""


def ending(name: str) -> str:
    """The ending of a file's name, in lower case and without its dot; empty for none."""
    stem, dot, end = name.rsplit("/", 1)[-1].rpartition(".")
    return end.lower() if stem and dot else ""


_BRANDS = {
    "AVIF": (b"avif", b"avis"),
    "HEIC": (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"),
    "HEIF": (b"mif1", b"msf1"),
    "JPEG 2000": (b"jp2 ", b"jpx ", b"jpm "),
    "Canon raw": (b"crx ",),
    "QuickTime or MP4 video": (b"qt  ", b"isom", b"iso2", b"mp41", b"mp42", b"avc1", b"M4V ", b"3gp4", b"3gp5"),
}
"""Brands of ISO base media files (ISO/IEC 14496-12, 4.3), by the format they stand for."""

_SIGNATURES = (
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"8BPS", "Photoshop"),
    (b"%PDF-", "PDF"),
    (b"%!PS", "PostScript"),
    (b"\xc5\xd0\xd3\xc6", "PostScript"),
    (b"FUJIFILMCCD-RAW", "Fujifilm raw"),
    (b"FOVb", "Sigma raw"),
    (b"IIRO", "Olympus raw"),
    (b"IIU\x00", "Panasonic raw"),
    (b"\x00\x00\x01\x00", "Windows icon"),
    (b"DDS ", "DirectDraw surface"),
    (b"qoif", "QOI"),
    (b"gimp xcf", "GIMP"),
    (b"\x76\x2f\x31\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"SIMPLE  =", "FITS"),
    (b"II\xbc\x01", "JPEG XR"),
    (b"PK\x03\x04", "ZIP archive"),
    (b"\x1f\x8b", "gzip archive"),
    (b"\x1aE\xdf\xa3", "Matroska or WebM video"),
)
"""First bytes of formats that are not decoded."""

_SVG = re.compile(rb"^(\xef\xbb\xbf)?\s*(<\?xml.*?\?>|<!--.*?-->|<!DOCTYPE\s+svg.*?>|\s)*<svg[\s>]", re.DOTALL)


def name_of_undecoded(content: bytes) -> str | None:
    """The name of the format that `content` begins as, if it is one that is known but not decoded; else None."""
    if content[4:8] == b"ftyp":
        # The major brand, the minor version, then the compatible brands: HEIC and AVIF may call themselves mif1 first.
        length = min(int.from_bytes(content[:4], "big"), 256)
        brands = {content[8:12], *(content[start : start + 4] for start in range(16, length, 4))}
        for name, known in _BRANDS.items():
            if brands.intersection(known):
                return name
    for signature, name in _SIGNATURES:
        if content.startswith(signature):
            return name
    if content[128:132] == b"DICM":
        return "DICOM"
    return "SVG" if _SVG.match(content[:4096]) else None
