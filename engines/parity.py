"""Whether published rows come out the same here: a sample of them, computed again from the original photos.

This is how results of one engine and machine are checked on another. On one kind of CPU every row must be the same bit
for bit; across kinds of CPU the last bits of the network differ, and rows must agree within RESULT_TOLERANCE.
"""

from __future__ import annotations

import hashlib
import heapq
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from engines.base import Engine, Progress
from engines.core import tables
from engines.core.catalog import read_catalog
from engines.core.comparison import RESULT_TOLERANCE
from engines.core.errors import ContractError, InputError
from engines.core.featurize import read_features
from engines.core.images import RejectedImageError, decode
from engines.core.model import Model, read_model
from engines.core.moments import to_grid
from engines.core.pca import Pca, load_pca, project
from engines.core.runtimes import open_runtime
from engines.core.storage import open_storage, read_ahead
from engines.map_engine import MapEngine

_READ_AHEAD = 16

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Row:
    """A published row of the sample; `part` is the number of the part it is in."""

    part: int
    path: str
    label: str
    values: Float32


@dataclass(frozen=True, slots=True)
class Difference:
    """How a computed row differs from the published one: at most so many standard deviations of a component."""

    path: str
    label: str
    identical: bool
    deviations: float
    unreadable: str = ""
    """Why the photo could not be decoded any more, if so."""

    @property
    def within_tolerance(self) -> bool:
        """Whether the row counts as equal."""
        return self.identical or (not self.unreadable and self.deviations <= RESULT_TOLERANCE)


@dataclass(frozen=True, slots=True)
class SampleTask:
    """The photos of one shard to compute again."""

    source: str
    output: str
    shard: str
    paths: list[str]


def compare_published(engine: Engine, output: str, record: dict[str, Any], images: int) -> list[Difference]:
    """Compute `images` of the rows that `record` publishes below `output` again on `engine`, and compare.

    The sample is chosen by a hash of the path, so it is the same each time. Raises InputError when the libraries here
    are not those the features were computed with, StorageError when a photo is gone.
    """
    if not isinstance(engine, MapEngine):
        raise InputError(f"the engine {engine.name} cannot compute single images", "Use dask.")
    storage = open_storage(output)
    model = read_model(output, record["model"]["fingerprint"])
    pca = load_pca(storage.read(f"{record['pca']}/model.npz"))
    rows = sample_rows(output, record, images)
    # Parts are in the order of the catalog's shards, and rows in the order of their parts.
    shards = read_catalog(output, record["catalog"].removeprefix("catalog/").removesuffix(".json")).shards
    tasks = [
        SampleTask(record["source"], output, shards[part].id, [row.path for row in group])
        for part, group in groupby(rows, key=lambda row: row.part)
    ]
    computed: dict[int, list[Float32 | str]] = {}
    done = 0
    engine.on_progress(Progress("parity", done, len(rows)))
    for position, outcome in engine.map(recompute, tasks, engine.broadcast((model, pca))):
        computed[position] = outcome
        done += len(outcome)
        engine.on_progress(Progress("parity", done, len(rows)))
    again = [values for position in range(len(tasks)) for values in computed[position]]
    scale = np.sqrt(pca.eigenvalues[: len(pca.components)]).clip(min=np.finfo(np.float32).eps)
    return [difference(row, values, scale) for row, values in zip(rows, again, strict=True)]


def sample_rows(output: str, record: dict[str, Any], images: int) -> list[Row]:
    """The `images` published rows with the smallest hash of their path, part by part (all, if there are fewer).

    Memory: the sample and one part.
    """
    if images < 1:
        raise InputError(f"a sample cannot have {images} images", "Give a whole number from 1.")
    storage = open_storage(output)
    chosen: list[tuple[int, str, int]] = []
    for number, part in enumerate(record["parts"]):
        with storage.open(part["key"]) as file:
            paths = pq.read_table(file, columns=["path"])["path"].to_pylist()
        hashed = ((int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "big"), path, number) for path in paths)
        chosen = heapq.nsmallest(images, [*chosen, *hashed])
    rows: list[Row] = []
    for number in sorted({number for _, _, number in chosen}):
        wanted = {path for _, path, part_number in chosen if part_number == number}
        table = tables.from_parquet(storage.read(record["parts"][number]["key"]))
        matrix = tables.to_matrix(table["pcaFeatures"])
        for index, (path, label) in enumerate(zip(table["path"].to_pylist(), table["label"].to_pylist(), strict=True)):
            if path in wanted:
                rows.append(Row(number, path, label, matrix[index].copy()))
    return rows


def recompute(task: SampleTask, value: tuple[Model, Pca]) -> list[Float32 | str]:
    """On a worker: the projected row of each photo, or why it cannot be decoded.

    The rows are projected in their place among the features of their shard: the last bits of a matrix product depend
    on the shape of the matrix.
    """
    model, pca = value
    runtime = open_runtime(model)
    source = open_storage(task.source)
    table = read_features(task.output, model.fingerprint, task.shard)
    matrix = tables.to_matrix(table["features"]).copy()
    places = {path: place for place, path in enumerate(table["path"].to_pylist())}
    unreadable: dict[str, str] = {}
    contents = read_ahead(lambda path: source.read(source.key(path)), task.paths, _READ_AHEAD)
    for path, content in zip(task.paths, contents, strict=True):
        if isinstance(content, Exception):
            raise content
        if path not in places:
            raise ContractError(f"{path} has a result but no features", "The output was changed: use another one.")
        try:
            matrix[places[path]] = to_grid(runtime.features(decode(content))[np.newaxis])[0]
        except RejectedImageError as reject:
            unreadable[path] = f"{reject.reason}: {reject.detail}"
    projected = project(pca, matrix)
    return [unreadable.get(path, projected[places[path]]) for path in task.paths]


def difference(row: Row, values: Float32 | str, scale: npt.NDArray[np.float64]) -> Difference:
    """Compare a published row with what was computed; `scale`: the standard deviation of each component."""
    if isinstance(values, str):
        return Difference(row.path, row.label, identical=False, deviations=float("inf"), unreadable=values)
    deviations = float((np.abs(values.astype(np.float64) - row.values) / scale).max())
    return Difference(row.path, row.label, bool(np.array_equal(values, row.values)), deviations)
