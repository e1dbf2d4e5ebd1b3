"""Whether published rows come out the same here: a sample of them, computed again from the original photos.

This is how results of one engine and machine are checked on another. On one kind of CPU every row must be the same bit
for bit; across kinds of CPU the last bits of the network differ, and rows must agree within RESULT_TOLERANCE.
"""

from __future__ import annotations

import hashlib
import heapq
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engines.base import Engine, Progress
from engines.core import tables
from engines.core.compare.outputs import RESULT_TOLERANCE
from engines.core.errors import InputError
from engines.core.index.catalog import read_manifest
from engines.core.index.lookup import find_entries
from engines.core.networks.model import read_model
from engines.core.output import RunRecord
from engines.core.proof.reading import read_table
from engines.core.reduce.kept import read_pca
from engines.core.stages.recompute import Float32, RecomputeTask, recompute
from engines.core.storage import open_storage
from engines.map_engine import MapEngine

_IMAGES_PER_TASK = 32


@dataclass(frozen=True, slots=True)
class Row:
    """A published row of the sample."""

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


def compare_published(engine: Engine, output: str, record: RunRecord, images: int) -> list[Difference]:
    """Compute `images` of the rows that `record` publishes below `output` again on `engine`, and compare.

    The sample is chosen by a hash of the path, so it is the same each time. Raises InputError when the libraries here
    are not those the features were computed with, StorageError when a photo is gone.
    """
    if not isinstance(engine, MapEngine):
        raise InputError(f"the engine {engine.name} cannot compute single images", "Use dask.")
    model = read_model(output, record.model.fingerprint)
    pca = read_pca(output, record.pca)
    rows = sample_rows(output, record, images)
    chunks = [rows[start : start + _IMAGES_PER_TASK] for start in range(0, len(rows), _IMAGES_PER_TASK)]
    entries = find_entries(output, read_manifest(output, record.catalog), (row.path for row in rows))
    tasks = [RecomputeTask(record.source, [entries[row.path] for row in chunk]) for chunk in chunks]
    computed: dict[int, list[Float32 | str]] = {}
    done = 0
    engine.on_progress(Progress("recheck", done, len(rows)))
    for position, outcome in engine.map(recompute, tasks, engine.broadcast((model, pca))):
        computed[position] = outcome
        done += len(outcome)
        engine.on_progress(Progress("recheck", done, len(rows)))
    again = [values for position in range(len(tasks)) for values in computed[position]]
    scale = np.sqrt(pca.eigenvalues[: len(pca.components)]).clip(min=np.finfo(np.float32).eps)
    return [difference(row, values, scale) for row, values in zip(rows, again, strict=True)]


def sample_rows(output: str, record: RunRecord, images: int) -> list[Row]:
    """The `images` published rows with the smallest hash of their path, in path order (all, if there are fewer).

    Memory: the sample and one part.
    """
    if images < 1:
        raise InputError(f"a sample cannot have {images} images", "Give a whole number from 1.")
    storage = open_storage(output)
    chosen: list[tuple[int, str, int]] = []
    for number, part in enumerate(record.parts):
        paths = read_table(storage, part.key)["path"].to_pylist()
        hashed = ((int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "big"), path, number) for path in paths)
        chosen = heapq.nsmallest(images, [*chosen, *hashed])
    rows: list[Row] = []
    for number in sorted({number for _, _, number in chosen}):
        wanted = {path for _, path, part_number in chosen if part_number == number}
        table = read_table(storage, record.parts[number].key)
        matrix = tables.to_matrix(table["pcaFeatures"])
        for index, (path, label) in enumerate(zip(table["path"].to_pylist(), table["label"].to_pylist(), strict=True)):
            if path in wanted:
                rows.append(Row(path, label, matrix[index].copy()))
    return sorted(rows, key=lambda row: row.path)


def difference(row: Row, values: Float32 | str, scale: npt.NDArray[np.float64]) -> Difference:
    """Compare a published row with what was computed; `scale`: the standard deviation of each component."""
    if isinstance(values, str):
        return Difference(row.path, row.label, identical=False, deviations=float("inf"), unreadable=values)
    deviations = float((np.abs(values.astype(np.float64) - row.values) / scale).max())
    return Difference(row.path, row.label, bool(np.array_equal(values, row.values)), deviations)
