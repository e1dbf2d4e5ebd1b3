"""Mutated images through `decode`: `python -m tests.fuzz.decode [--images 20000] [--seed 0] [--keep FOLDER]`.

Each ends as a feature or as a reject, within SECONDS and MEMORY. The images run in a process of their own, so that a
crash is seen, and goes on with the next one. What breaks a bound is written to FOLDER, to become a regression test.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import struct
import subprocess
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

SECONDS = 5.0
"""Longest decode allowed."""

MEMORY = 600_000_000
"""Largest growth of resident memory allowed, in bytes."""


def seeds() -> dict[str, bytes]:
    """Small images of each format that is decoded, in its kinds."""
    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize((64, 48))
    alpha = photo.copy()
    alpha.putalpha(photo.convert("L"))
    grey16 = Image.fromarray(rng.integers(0, 2**16, (48, 64)).astype(np.uint16))
    floats = Image.fromarray(rng.uniform(0, 1, (48, 64)).astype(np.float32))
    palette = photo.quantize(16)
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds: list[tuple[str, Image.Image, dict[str, object]]] = [
        ("JPEG", photo, {"exif": exif}),
        ("JPEG", photo, {"progressive": True, "subsampling": 0}),
        ("JPEG", photo.convert("CMYK"), {}),
        ("JPEG", photo.convert("L"), {"restart_marker_rows": 1}),
        ("PNG", photo, {"exif": exif}),
        ("PNG", alpha, {}),
        ("PNG", grey16, {}),
        ("PNG", palette, {"transparency": 3}),
        ("GIF", palette, {"transparency": 3}),
        ("GIF", palette, {"save_all": True, "append_images": [photo.rotate(90).quantize(8)]}),
        ("WEBP", photo, {"exif": exif}),
        ("WEBP", alpha, {"lossless": True}),
        ("WEBP", photo, {"save_all": True, "append_images": [photo.rotate(90)]}),
        ("TIFF", photo, {"exif": exif}),
        ("TIFF", photo, {"compression": "tiff_lzw"}),
        ("TIFF", photo, {"compression": "jpeg"}),
        ("TIFF", alpha, {"compression": "tiff_adobe_deflate"}),
        ("TIFF", photo.convert("1"), {"compression": "group4"}),
        ("TIFF", grey16, {"compression": "packbits"}),
        ("TIFF", floats, {}),
        ("BMP", photo, {}),
        ("BMP", palette, {}),
        ("PPM", photo, {}),
        ("PPM", floats, {}),
        ("PPM", grey16, {}),
    ]
    images: dict[str, bytes] = {}
    for number, (form, image, options) in enumerate(kinds):
        sink = io.BytesIO()
        image.save(sink, form, **options)
        images[f"{form.lower()}-{number}"] = sink.getvalue()
    images["ppm-plain"] = b"P3 4 4 100\n" + b" 7 99 100" * 16
    images["ppm-bits"] = b"P1 16 4\n" + b"01 " * 32
    images["ppm-scaled"] = b"P6 4 4 100\n" + bytes(range(48))
    header = struct.pack("<2sIHHIIiiHHIIiiII", b"BM", 1000, 0, 0, 1078, 40, 16, 4, 1, 8, 1, 0, 0, 0, 256, 0)
    images["bmp-runs"] = (
        header + bytes(range(256)) * 4 + b"\x10\x07\0\0\0\x04abcd\0\x02\x01\x01\x05\x09\0\0\x10\x03\0\x01"
    )
    return images


def mutate(content: bytes, chance: random.Random) -> bytes:
    """Some bytes changed, cut, doubled, or set to what lengths and sizes break at; of a PNG the checksums mended."""
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        # Half of the hits are in the first bytes, where headers are.
        position = chance.randrange(min(len(data), 120) if chance.random() < 0.5 else len(data)) if data else 0
        kind = chance.randrange(6)
        if kind == 0 and data:
            data[position] ^= 1 << chance.randrange(8)
        elif kind == 1:
            data[position : position + 1] = bytes([chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))])
        elif kind == 2:
            value = chance.choice((0, 1, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 8191, 2**24 - 1, 2**31 - 1, 2**32 - 1))
            data[position : position + 4] = value.to_bytes(4, chance.choice(("big", "little")))
        elif kind == 3:
            del data[position : position + chance.choice((1, 2, 8, 100))]
        elif kind == 4:
            data[position:position] = data[position : position + chance.choice((1, 4, 64))] * chance.choice((1, 2, 50))
        elif chance.random() < 0.2:
            del data[position:]
    mutated = bytes(data)
    return _with_checksums(mutated) if content.startswith(b"\x89PNG") and chance.random() < 0.8 else mutated


def _with_checksums(content: bytes) -> bytes:
    """The PNG with checksums that fit, so that damage goes further than to the first of them."""
    pieces, position = [content[:8]], 8
    while position + 12 <= len(content):
        end = position + 12 + int.from_bytes(content[position : position + 4], "big")
        if end > len(content):
            break
        checksum = zlib.crc32(content[position + 4 : end - 4])
        pieces += [content[position : end - 4], struct.pack(">I", checksum)]
        position = end
    return b"".join([*pieces, content[position:]])


def mutants(images: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """The name and the bytes of each mutated image; the same for the same seed."""
    originals = sorted(seeds().items())
    for number in range(images):
        name, content = originals[number % len(originals)]
        yield f"{name}-{seed}-{number}", mutate(content, random.Random(f"{seed}-{number}"))


def run(images: int, seed: int, keep: Path | None = None) -> tuple[Counter[str], list[str]]:
    """How many images ended as what, and one line for each that broke a bound."""
    outcomes: Counter[str] = Counter()
    broken: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        waiting = []
        for name, content in mutants(images, seed):
            waiting.append(Path(folder, name))
            waiting[-1].write_bytes(content)
        while waiting:
            done = 0
            for done, (outcome, problem) in enumerate(_answers(waiting), 1):
                outcomes[outcome] += 1
                if problem:
                    file = waiting[done - 1]
                    broken.append(f"{file.name}: {problem}")
                    if keep:
                        keep.mkdir(parents=True, exist_ok=True)
                        (keep / file.name).write_bytes(file.read_bytes())
            waiting = waiting[done:]
    return outcomes, broken


def _answers(files: list[Path]) -> Iterator[tuple[str, str]]:
    """What became of each file and what is wrong with that; ends early, after a crash or a stall."""
    command = [sys.executable, "-m", "tests.fuzz.worker", *map(str, files[:500])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            answer = json.loads(line)
            problems = []
            if answer["seconds"] > SECONDS:
                problems.append(f"{answer['seconds']:.1f} s")
            if answer["growth"] > MEMORY:
                problems.append(f"{answer['growth'] / 1e6:,.0f} MB")
            if answer["outcome"].startswith("error"):
                problems.append(answer["outcome"])
            yield answer["outcome"], ", ".join(problems)
    if child.returncode:
        yield "crash", f"the process ended with {child.returncode}"


def main() -> int:
    """Run, print the counts, and return 1 if a bound was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    outcomes, broken = run(options.images, options.seed, options.keep)
    print(f"seed {options.seed}:", dict(outcomes.most_common()))
    print("\n".join(broken) or "no bound was broken")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
