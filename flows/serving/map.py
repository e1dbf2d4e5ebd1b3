"""Where the published photos lie on a plane, and where a new one lies among them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engines.published.rows import PublishedRows
from flows.serving.answers import PhotoMap, Place

_POINTS = 4000


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """The first two components: what of the photos differs most."""

    rows: PublishedRows

    def points(self) -> PhotoMap:
        """Up to _POINTS published photos at even distances."""
        rows = np.unique(np.linspace(0, len(self.rows) - 1, min(_POINTS, len(self.rows))).astype(int))
        names = self.rows.labels.take(rows).to_pylist()
        labels = sorted(set(names))
        number = {label: position for position, label in enumerate(labels)}
        x, y = _plane(self.rows.values[rows])
        return PhotoMap(
            kind="first two components",
            labels=labels,
            x=x.tolist(),
            y=y.tolist(),
            label=[number[name] for name in names],
            row=rows.tolist(),
        )

    def place(self, vector: npt.NDArray[np.float32]) -> Place:
        """Where a photo of these numbers lies."""
        x, y = _plane(vector[np.newaxis])
        return Place(x=float(x[0]), y=float(y[0]))


def _plane(values: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    wide = values.astype(np.float64).round(3)
    return wide[:, 0], wide[:, 1] if values.shape[1] > 1 else np.zeros(len(values))
