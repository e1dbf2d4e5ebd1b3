"""Where the published photos lie on a plane, and where a new one lies among them."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from engines.core.neighbours import nearest
from engines.core.output import RunRecord, check_folder, layout_key
from engines.core.proof.reading import read_table
from engines.core.quality.figures import latest_quality
from engines.core.storage import open_storage
from engines.published.rows import PublishedRows
from flows.serving.answers import PhotoMap, Place

_POINTS = 4000
_PLACED_BY = 4

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


class Plane(ABC):
    """Some of the published photos, `chosen` (numbers of rows), at `x` and `y`: float64, one each."""

    kind: str

    def __init__(self, rows: PublishedRows, chosen: npt.NDArray[np.int64], x: Float64, y: Float64) -> None:
        self.rows, self.chosen, self.x, self.y = rows, chosen, x, y

    def points(self) -> PhotoMap:
        """The photos with their labels."""
        names = self.rows.labels.take(pa.array(self.chosen)).to_pylist()
        labels = sorted(set(names))
        number = {label: position for position, label in enumerate(labels)}
        return PhotoMap(
            kind=self.kind,
            labels=labels,
            x=self.x.round(4).tolist(),
            y=self.y.round(4).tolist(),
            label=[number[name] for name in names],
            row=self.chosen.tolist(),
        )

    @abstractmethod
    def place(self, vector: Float32) -> Place:
        """Where a photo of these k numbers lies."""


class FirstTwo(Plane):
    """The first two components: what of the photos differs most. Photos at even distances."""

    kind = "first two components"

    def __init__(self, rows: PublishedRows) -> None:
        chosen = np.unique(np.linspace(0, len(rows) - 1, min(_POINTS, len(rows))).astype(np.int64))
        super().__init__(rows, chosen, *_first_two(rows.values[chosen]))

    def place(self, vector: Float32) -> Place:
        """See Plane."""
        x, y = _first_two(vector[np.newaxis])
        return Place(x=round(float(x[0]), 4), y=round(float(y[0]), 4))


class CheckedMap(Plane):
    """The map of `fruits check`, on which neighbours stay neighbours. A new photo lies where its nearest on it do."""

    kind = "neighbours stay neighbours (t-SNE)"

    def __init__(self, rows: PublishedRows, layout: pa.Table) -> None:
        """`layout`: tables.LAYOUT, of these rows."""
        found = pc.index_in(layout["path"], value_set=rows.paths).combine_chunks()
        there = np.flatnonzero(found.is_valid().to_numpy(zero_copy_only=False))
        chosen = found.take(pa.array(there)).to_numpy().astype(np.int64)
        x, y = (layout[name].to_numpy().astype(np.float64)[there] for name in ("x", "y"))
        super().__init__(rows, chosen, x, y)

    def place(self, vector: Float32) -> Place:
        """See Plane: the mean of the nearest photos' places, by the inverse square of their distance."""
        found = nearest(vector[np.newaxis], self.rows.values[self.chosen], _PLACED_BY)
        near, squares = found.rows[0], found.distances[0] ** 2
        # A photo of the map is its own place.
        weights = (squares == 0).astype(np.float64) if (squares == 0).any() else squares.min() / squares
        weights /= weights.sum()
        x, y = (float((values[near] * weights).sum()) for values in (self.x, self.y))
        return Place(x=round(x, 4), y=round(y, 4))


def open_plane(output: str, record: RunRecord, rows: PublishedRows) -> Plane:
    """The map of the newest check of what is published, or the first two components where it was not checked."""
    quality = latest_quality(output, record)
    if quality is None:
        return FirstTwo(rows)
    return CheckedMap(rows, read_table(open_storage(output), layout_key(check_folder(quality.check))))


def _first_two(values: Float32) -> tuple[Float64, Float64]:
    wide = values.astype(np.float64)
    return wide[:, 0], wide[:, 1] if values.shape[1] > 1 else np.zeros(len(values))
