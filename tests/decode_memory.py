"""How much memory one decode takes, measured in a process of its own: `python -m tests.decode_memory FILE ...`.

Prints, for each file, a line of JSON: the growth of resident memory over what was there with the file read, what was
computed beforehand, and the outcome.
"""

from __future__ import annotations

import io
import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from PIL import Image

from engines.core.networks.image_formats import DECODED
from engines.core.networks.image_memory import memory_to_decode
from engines.core.networks.image_metadata import take_apart
from engines.core.networks.images import decode
from engines.core.networks.mobilenet_v2 import SIDE
from engines.core.rejects import RejectedImageError


def peak() -> int:
    """The largest resident memory since `forget_peak`, in bytes (Linux)."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def forget_peak() -> None:
    """From now on `peak` counts anew."""
    Path("/proc/self/clear_refs").write_text("5")


def computed(content: bytes) -> int | None:
    """What `decode` takes for the need of this file; None if it cannot be opened."""
    picture = take_apart(content)
    try:
        with warnings.catch_warnings(action="ignore"):
            image = Image.open(io.BytesIO(picture.pixels if picture else content), formats=DECODED)
            return memory_to_decode(image, SIDE, picture.scan_components if picture else 0)
    except Exception:
        return None


def measure(content: bytes, **options: Any) -> dict[str, Any]:
    """Decode, and say what came of it and what it took."""
    forget_peak()
    before, started = peak(), time.monotonic()
    try:
        decode(content, SIDE, **options)
        outcome = "features"
    except RejectedImageError as reject:
        outcome = reject.reason
    return {"outcome": outcome, "growth": peak() - before, "seconds": time.monotonic() - started}


if __name__ == "__main__":
    for file in sys.argv[1:]:
        content = Path(file).read_bytes()
        print(json.dumps(measure(content) | {"computed": computed(content)}), flush=True)
