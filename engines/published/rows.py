"""The published rows in memory, and those of them that are nearest to a photo."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from engines.core import tables
from engines.core.errors import FruitsError, InputError
from engines.core.neighbours import Vote, nearest, vote
from engines.core.output import RunRecord
from engines.core.proof.reading import read_table
from engines.core.storage import open_storage, read_ahead
from engines.published.model import Float32

_PARTS_AHEAD = 8


@dataclass(frozen=True, slots=True, eq=False)
class PublishedRows:
    """All rows of a run, in the order of its parts. `values`: float32[n, k]."""

    paths: pa.ChunkedArray
    labels: pa.ChunkedArray
    values: Float32

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A published photo, and how far away it is (Euclidean). `row` counts from 0 over all parts."""

    row: int
    path: str
    label: str
    distance: float


@dataclass(frozen=True, slots=True)
class Similar:
    """The published photos nearest to another one, and what their labels say: None where none has a label."""

    vote: Vote | None
    neighbours: tuple[Neighbour, ...]


def read_parts(output: str, record: RunRecord) -> Iterator[pa.Table]:
    """The parts that `record` publishes below `output`, in their order, some read ahead.

    Raises InputError for a part that has not the rows that run.json says.
    """
    storage = open_storage(output)
    found = read_ahead(lambda key: read_table(storage, key), [part.key for part in record.parts], _PARTS_AHEAD)
    for part, table in zip(record.parts, found, strict=True):
        if isinstance(table, FruitsError):
            raise table
        if table.num_rows != part.rows:
            raise InputError(
                f"{storage.uri(part.key)} has {table.num_rows:,} rows, run.json says {part.rows:,}",
                "Run `fruits run` again.",
            )
        yield table


def read_rows(output: str, record: RunRecord) -> PublishedRows:
    """The rows that `record` publishes below `output`. Memory: 4 k bytes a row (46 MB for 90,483 rows of 128), and
    the paths."""
    values = np.empty((sum(part.rows for part in record.parts), record.components), np.float32)
    paths, labels = [], []
    done = 0
    for table in read_parts(output, record):
        values[done : done + table.num_rows] = tables.to_matrix(table["pcaFeatures"]) if table.num_rows else 0
        done += table.num_rows
        paths += table["path"].chunks
        labels += table["label"].chunks
    return PublishedRows(pa.chunked_array(paths, pa.string()), pa.chunked_array(labels, pa.string()), values)


def similar(rows: PublishedRows, vector: Float32, k: int) -> Similar:
    """The `k` rows nearest to `vector` (float32[d]), nearest first, and their vote. Exact."""
    found = nearest(vector[np.newaxis], rows.values, k)
    neighbours = tuple(
        Neighbour(row, rows.paths[row].as_py(), rows.labels[row].as_py(), distance)
        for row, distance in zip(found.rows[0].tolist(), found.distances[0].tolist(), strict=True)
    )
    return Similar(vote([neighbour.label for neighbour in neighbours]), neighbours)
