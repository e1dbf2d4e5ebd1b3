"""Photos to results as whole processes: the chain, its limit, and what a user would write instead, in turn."""

from __future__ import annotations

import argparse
import random
import shutil
from collections.abc import Callable, Sequence

from tests.benchmarks.contestants import CONTESTANTS, Contestant, Job
from tests.benchmarks.machine import usable
from tests.benchmarks.photos import Workshop
from tests.benchmarks.process import FailedError, Measured
from tests.benchmarks.steps import Step

TABLE = "end_to_end"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of this table."""
    parser.add_argument(
        "--images", type=int, nargs="+", default=[1320, 6600], metavar="N",
        help="real photos, as many of each class (default: 1320 6600)",
    )  # fmt: skip
    parser.add_argument(
        "--only", nargs="+", choices=[each.name for each in CONTESTANTS], metavar="NAME",
        help=f"of: {'; '.join(each.name for each in CONTESTANTS)}",
    )  # fmt: skip


def steps(chosen: argparse.Namespace, workshop: Workshop) -> Sequence[Step]:
    """A round runs each contestant once, in another order each time."""
    order = random.Random(chosen.seed)
    contestants = [each for each in CONTESTANTS if not chosen.only or each.name in chosen.only]
    return [
        Step(TABLE, each.name, images, each.expected(images), _run(each, images, workshop, chosen.longest))
        for images in chosen.images
        for _ in range(chosen.rounds)
        for each in order.sample(contestants, len(contestants))
    ]


def _run(contestant: Contestant, images: int, workshop: Workshop, longest: float) -> Callable[[], Measured]:
    def run() -> Measured:
        if contestant.missing:
            raise FailedError(f"{contestant.missing} is not installed")
        output = workshop.folder / "output"
        photos = workshop.real_photos(images)
        try:
            job = Job(photos, images, workshop.weights, output, usable())
            return contestant.run(job, longest=longest)
        finally:
            shutil.rmtree(output, ignore_errors=True)  # the limit writes none

    return run


if __name__ == "__main__":
    from tests.benchmarks.suite import main

    main([TABLE])
