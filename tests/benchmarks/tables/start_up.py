"""What a person waits for before anything happens: the first photo, a run with nothing to do, short commands."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.benchmarks.machine import usable
from tests.benchmarks.photos import FRUITS, Workshop
from tests.benchmarks.process import FailedError, Measured, run_process
from tests.benchmarks.steps import Step

TABLE = "start_up"
NOTHING_TO_DO = "a run with nothing to do"
FIRST_PHOTO = "until the first photo is featurized"
HELP = "fruits --help"
SHOW = "fruits show"

_FIRST_PHOTOS = 32
_MORE_ROUNDS = 2


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of this table."""
    parser.add_argument(
        "--start-up-images", type=int, default=6600, metavar="N",
        help="real photos of the run that is repeated or begun (default: 6600)",
    )  # fmt: skip


def steps(chosen: argparse.Namespace, workshop: Workshop) -> Sequence[Step]:
    """Each once in a round; twice as many rounds and one, as each is short."""
    images, rounds = chosen.start_up_images, chosen.rounds * _MORE_ROUNDS + 1

    def finished() -> Path:
        return workshop.once(f"finished-{images}", lambda output: _finish(workshop, images, output))

    def timed(*arguments: str) -> Callable[[], Measured]:
        def run() -> Measured:
            return run_process([FRUITS, *arguments], longest=chosen.longest, sample=False)[0]

        return run

    def nothing_to_do() -> Measured:
        output = finished()
        published = (output / "run.json").stat().st_mtime_ns
        measured, _ = run_process(_run_command(workshop, images, output), longest=chosen.longest, sample=False)
        if (output / "run.json").stat().st_mtime_ns != published:
            raise FailedError("the run had something to do")
        return measured

    def show() -> Measured:
        return timed("show", str(finished()))()

    subjects = (
        (HELP, 1.0, timed("--help")),
        (SHOW, 1.0, show),
        (NOTHING_TO_DO, 3.0, nothing_to_do),
        (FIRST_PHOTO, 12.0, lambda: _first_photo(workshop, images, chosen.longest)),
    )
    return [Step(TABLE, name, images, expected, run) for _ in range(rounds) for name, expected, run in subjects]


def _run_command(workshop: Workshop, images: int, output: Path) -> list[str]:
    photos = str(workshop.real_photos(images))
    return [
        *(FRUITS, "run", photos, str(output), "--weights", workshop.weights),
        *("--workers", str(usable()), "--no-prefect"),
    ]


def _finish(workshop: Workshop, images: int, output: Path) -> None:
    run_process(_run_command(workshop, images, output), longest=3600, sample=False)


def _first_photo(workshop: Workshop, images: int, longest: float) -> Measured:
    """All photos are listed; some are taken, a shard each, so that the first file of features is the first photo's."""
    output = workshop.folder / "begun"
    command = _run_command(workshop, images, output)
    command += ["--images", str(_FIRST_PHOTOS), "--shard-size", "1", "--components", "8"]
    features = output / "features"

    def first() -> bool:
        return features.is_dir() and any(features.glob("*.parquet"))

    try:
        measured, _ = run_process(command, longest=longest, watch=first, sample=False)
    finally:
        shutil.rmtree(output, ignore_errors=True)
    if "watched" not in measured.parts:
        raise FailedError("no photo was featurized")
    return Measured(measured.parts["watched"], measured.cpu_seconds)


if __name__ == "__main__":
    from tests.benchmarks.suite import main

    main([TABLE])
