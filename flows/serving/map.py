"""Where the published photos lie on a plane, and where a new one lies among them."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from engines.core.quality.figures import Quality
from engines.published.neighbour_map import NeighbourMap, read_map
from engines.published.rows import PublishedRows
from flows.serving.answers import PhotoMap, Place

_POINTS = 4000

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


class Plane(ABC):
    """Some of the published photos, `chosen` (numbers of rows), at `x` and `y`: float64, one each."""

    kind: str

    def __init__(self, rows: PublishedRows, chosen: npt.NDArray[np.int64], x: Float64, y: Float64) -> None:
        self.rows, self.chosen, self.x, self.y = rows, chosen, x, y

    def points(self, version: str) -> PhotoMap:
        """The photos with their labels; `version` is that of what is served."""
        names = self.rows.labels.take(pa.array(self.chosen)).to_pylist()
        labels = sorted(set(names))
        number = {label: position for position, label in enumerate(labels)}
        return PhotoMap(
            version=version,
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

    def __init__(self, rows: PublishedRows, drawn: NeighbourMap) -> None:
        super().__init__(rows, drawn.rows, *drawn.plane.T)
        self._drawn = drawn

    def place(self, vector: Float32) -> Place:
        """See Plane."""
        ((x, y),) = self._drawn.place(vector[np.newaxis]).tolist()
        return Place(x=round(x, 4), y=round(y, 4))


def open_plane(output: str, quality: Quality | None, rows: PublishedRows) -> Plane:
    """The map of this check of what is published at `output`, or the first two components where there is none."""
    if quality is None:
        return FirstTwo(rows)
    return CheckedMap(rows, read_map(output, quality.check, rows))


def _first_two(values: Float32) -> tuple[Float64, Float64]:
    wide = values.astype(np.float64)
    return wide[:, 0], wide[:, 1] if values.shape[1] > 1 else np.zeros(len(values))
