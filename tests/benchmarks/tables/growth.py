"""How time and memory grow: 1,000 to 90,483 made-up photos, and a catalog of a million rows with made-up features."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Sequence

from tests.benchmarks.contestants import CONTESTANTS, ENGINES, Contestant, Job
from tests.benchmarks.machine import usable
from tests.benchmarks.photos import Workshop
from tests.benchmarks.process import FailedError, Measured, answer_of, run_process
from tests.benchmarks.steps import Step
from tests.benchmarks.tables.reduce import reduce_command

TABLE = "growth"
PHOTOS = "whole run"
CATALOG = "catalog, fit and project"


def subject(engine: str, what: str) -> str:
    """How a row of this table is called."""
    return f"{engine}: {what}"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of this table."""
    parser.add_argument(
        "--growth-images", type=int, nargs="*", default=[1000, 10000], metavar="N",
        help="made-up photos of 131 classes, featurized and reduced (default: 1000 10000)",
    )  # fmt: skip
    parser.add_argument(
        "--catalog-rows", type=int, nargs="*", default=[], metavar="N",
        help="rows of a catalog with made-up features, reduced alone (default: none; 1000000 takes 8 GB)",
    )  # fmt: skip
    parser.add_argument(
        "--growth-engines", nargs="+", choices=list(ENGINES.values()), default=list(ENGINES.values()), metavar="ENGINE",
        help="dask, spark (default: both)",
    )  # fmt: skip


def steps(chosen: argparse.Namespace, workshop: Workshop) -> Sequence[Step]:
    """Once each: what is asked is the memory, and the order of the seconds."""
    engines = [each for each in CONTESTANTS if each.engine in chosen.growth_engines]
    runs = [
        Step(
            TABLE,
            subject(each.name, PHOTOS),
            images,
            each.expected(images),
            _whole_run(each, images, workshop, chosen.longest),
        )
        for images in sorted(chosen.growth_images)
        for each in engines
    ]
    catalogs = [
        Step(TABLE, subject(each.name, CATALOG), rows, rows / 1500, _reduced(each, rows, workshop, chosen.longest))
        for rows in sorted(chosen.catalog_rows)
        for each in engines
    ]
    return [*runs, *catalogs]


def _whole_run(contestant: Contestant, images: int, workshop: Workshop, longest: float) -> Callable[[], Measured]:
    def run() -> Measured:
        output = workshop.folder / "grown"
        try:
            job = Job(workshop.made_up_photos(images), images, workshop.weights, output, usable())
            return contestant.run(job, longest=longest)
        finally:
            shutil.rmtree(output, ignore_errors=True)

    return run


def _reduced(contestant: Contestant, rows: int, workshop: Workshop, longest: float) -> Callable[[], Measured]:
    def run() -> Measured:
        features = workshop.simulated_features(rows)
        command = reduce_command(workshop.empty_photos(rows), features, contestant.engine)
        measured, printed = run_process(command, longest=longest)
        measured.parts.update(answer_of(printed))
        if measured.parts["images"] != rows:
            raise FailedError(f"it did {measured.parts['images']:.0f} of {rows} rows")
        return measured

    return run


if __name__ == "__main__":
    from tests.benchmarks.suite import main

    main([TABLE])
