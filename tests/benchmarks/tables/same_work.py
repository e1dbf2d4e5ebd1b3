"""Whether all contestants compute the same: the same rows, features as near as another decoder and runtime allow.

Nothing is timed. A contestant that does other work is no baseline, and counts as a failure.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import numpy.typing as npt
import pyarrow.dataset as ds

from engines.core import tables
from tests.benchmarks.contestants import CONTESTANTS, DASK, Contestant, Job
from tests.benchmarks.machine import usable
from tests.benchmarks.photos import Workshop
from tests.benchmarks.process import FailedError, Measured
from tests.benchmarks.steps import Step

TABLE = "same_work"
MOST_DIFFERENT = 0.05
"""Of features, relative to theirs. TensorFlow's bicubic does not round between rows and columns: 3 %."""
MOST_DIFFERENT_SHAPE = 0.05
"""Of the distances between results, relative to all."""

_SAME_IMAGES = 264


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of this table."""
    parser.add_argument(
        "--same-images", type=int, default=_SAME_IMAGES, metavar="N",
        help=f"real photos, more than components (default: {_SAME_IMAGES})",
    )  # fmt: skip


def steps(chosen: argparse.Namespace, workshop: Workshop) -> Sequence[Step]:
    """Each contestant once, the chain on Dask first: it is what the others are held to."""
    images = chosen.same_images
    return [
        Step(TABLE, each.name, images, each.expected(images), partial(_compare, each, images, workshop, chosen))
        for each in CONTESTANTS
        if not each.limit
    ]


def _compare(contestant: Contestant, images: int, workshop: Workshop, chosen: argparse.Namespace) -> Measured:
    if contestant.missing:
        raise FailedError(f"{contestant.missing} is not installed")

    def run(output: Path, who: Contestant) -> Measured:
        job = Job(workshop.real_photos(images), images, workshop.weights, output, usable(), keep_features=True)
        return who.run(job, longest=chosen.longest)

    oracle = workshop.once("same-oracle", lambda output: run(output, CONTESTANTS[0]))
    assert CONTESTANTS[0].name == DASK
    output = workshop.folder / "same-output"
    try:
        measured = run(output, contestant)
        measured.parts.update(differences(output, oracle))
    finally:
        shutil.rmtree(output, ignore_errors=True)
    for what, most in (("features differ", MOST_DIFFERENT), ("results differ", MOST_DIFFERENT_SHAPE)):
        if measured.parts[what] > most:
            raise FailedError(f"{what} by {measured.parts[what]:.2%}, which is other work")
    return measured


def differences(output: Path, oracle: Path) -> dict[str, float]:
    """How much the features and the results in two outputs differ. Raises FailedError unless they are of the same rows.

    Features: root of the mean square, relative to theirs. Results: as `shapes_differ`.
    """
    mine, theirs = _rows(output, "features", "features"), _rows(oracle, "features", "features")
    _check_same_rows(mine[0], theirs[0])
    features = float(np.linalg.norm(mine[1] - theirs[1]) / np.linalg.norm(theirs[1]))
    mine, theirs = _rows(output, "results", "pcaFeatures"), _rows(oracle, "results", "pcaFeatures")
    _check_same_rows(mine[0], theirs[0])
    return {"features differ": features, "results differ": shapes_differ(mine[1], theirs[1])}


def shapes_differ(mine: npt.NDArray[np.float64], theirs: npt.NDArray[np.float64]) -> float:
    """How much two clouds of points differ but for rotation, reflection and scale: of their products, relative to all.

    Signs of components are free, and scikit-learn divides by n where Spark and the chain divide by n - 1.
    """
    products = [points @ points.T for points in (mine - mine.mean(axis=0), theirs - theirs.mean(axis=0))]
    first, second = (each / np.linalg.norm(each) for each in products)
    return float(np.linalg.norm(first - second))


def _rows(output: Path, folder: str, column: str) -> tuple[list[tuple[str, str]], npt.NDArray[np.float64]]:
    """(photo, label) of each row, in order, and the values."""
    files = sorted((output / folder).rglob("*.parquet"))
    table = ds.dataset(files).to_table()
    places = [unquote(urlsplit(path).path) if ":" in path else path for path in table["path"].to_pylist()]
    names = ["/".join(Path(place).parts[-2:]) for place in places]
    order = np.argsort(names, kind="stable")
    labels = table["label"].to_pylist()
    return [(names[at], labels[at]) for at in order], tables.to_matrix(table[column]).astype(np.float64)[order]


def _check_same_rows(mine: list[tuple[str, str]], theirs: list[tuple[str, str]]) -> None:
    if mine != theirs:
        other = set(mine) ^ set(theirs)
        raise FailedError(f"its rows are others: {len(mine)} for {len(theirs)}, such as {sorted(other)[:2]}")


if __name__ == "__main__":
    from tests.benchmarks.suite import main

    main([TABLE])
