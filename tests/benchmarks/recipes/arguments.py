"""What every recipe is told, and how it answers."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

COMPONENTS = 128


class Recipe(argparse.Namespace):
    """`photos`: a folder per class. `weights`: a file of Keras weights without head. `output`: not there yet.

    `keep_features`: write them to `output/features` too, which no measured run asks for; the notebook always does.
    """

    photos: Path
    weights: str
    output: Path
    cores: int
    keep_features: bool


def parse() -> Recipe:
    """The arguments of this process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("photos", type=Path)
    parser.add_argument("weights")
    parser.add_argument("output", type=Path)
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--keep-features", action="store_true")
    return parser.parse_args(namespace=Recipe())


def answer(images: int, **seconds: float) -> None:
    """What was done, as the last line of standard output."""
    print("\n" + json.dumps({"images": images, "seconds": seconds}), flush=True)
