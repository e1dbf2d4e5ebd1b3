"""Photos on S3, with and without faults, against the same photos in a folder: the rate of featurize."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.benchmarks.contestants import parts_of
from tests.benchmarks.machine import usable
from tests.benchmarks.photos import FRUITS, Workshop
from tests.benchmarks.process import ROOT, FailedError, Measured, run_process
from tests.benchmarks.slow_s3 import BUCKET
from tests.benchmarks.steps import Step

TABLE = "s3"
FOLDER = "folder"
S3 = "S3, 30 ms per request"
FAULTS = "S3, 30 ms per request, of which one in ten fails"
_DELAY = 0.03
_SHARE = 0.1


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of this table."""
    parser.add_argument(
        "--s3-images", type=int, default=6600, metavar="N", help="real photos, in a folder and on S3 (default: 6600)"
    )


def steps(chosen: argparse.Namespace, workshop: Workshop) -> Sequence[Step]:
    """Each once in a round, the one that comes first in turn."""
    images = chosen.s3_images

    def folder() -> Measured:
        return _featurize(workshop, images, str(workshop.real_photos(images)), {}, chosen.longest)

    def s3(share: float) -> Measured:
        with _served(workshop.real_photos(images), share) as (variables, done):
            measured = _featurize(workshop, images, f"s3://{BUCKET}", variables, chosen.longest)
        measured.parts.update(done)
        return measured

    three = [
        Step(TABLE, FOLDER, images, 10 + images / 150, folder),
        Step(TABLE, S3, images, 10 + images / 140, lambda: s3(0)),
        Step(TABLE, FAULTS, images, 10 + images / 120, lambda: s3(_SHARE)),
    ]
    return [step for number in range(chosen.rounds) for step in (three if number % 2 else three[::-1])]


def _featurize(workshop: Workshop, images: int, source: str, variables: dict[str, str], longest: float) -> Measured:
    output = workshop.folder / "output-s3"
    command = [FRUITS, "run", source, str(output), "--weights", workshop.weights, "--workers", str(usable())]
    try:
        measured, _ = run_process([*command, "--no-prefect"], longest=longest, environment=variables)
        measured.parts.update(parts_of(output))
    finally:
        shutil.rmtree(output, ignore_errors=True)
    if measured.parts["images"] != images:
        raise FailedError(f"it did {measured.parts['images']:.0f} of {images} photos")
    return measured


@contextlib.contextmanager
def _served(photos: Path, share: float) -> Iterator[tuple[dict[str, str], dict[str, float]]]:
    """The photos on S3: variables that lead there, and, behind this context, what the server has done."""
    server_options = ["--delay", str(_DELAY), "--faults", str(share)]
    command = [sys.executable, "-m", "tests.benchmarks.slow_s3", str(photos), *server_options]
    done: dict[str, float] = {}
    with subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as server:  # fmt: skip
        assert server.stdin is not None
        assert server.stdout is not None
        yield (
            {
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{int(server.stdout.readline())}",
                "AWS_ACCESS_KEY_ID": "benchmark",
                "AWS_SECRET_ACCESS_KEY": "benchmark",
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_EC2_METADATA_DISABLED": "true",
            },
            done,
        )
        server.stdin.close()
        done.update(json.loads(server.stdout.read()))


if __name__ == "__main__":
    from tests.benchmarks.suite import main

    main([TABLE])
