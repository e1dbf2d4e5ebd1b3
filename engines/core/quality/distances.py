"""What the distances to the nearest rows say: photos that lie far from all others, and photos too close to another.

The thresholds are cleanlab's, so that the flags are. The scores are not its exponentials, whose last bits differ
between CPUs, but quotients that order rows alike; in [0, 1], the lower the worse, as there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

OUTLIER_RANGES = 1.7
"""A row is an outlier when its mean distance lies so many interquartile ranges above the third quartile: cleanlab's
`1 / 0.37037 - 1`."""

NEAR_DUPLICATE = 0.13
"""Two rows are near duplicates when they are closer than this share of the median distance to the nearest row."""

RARE = 0.1
"""A class is rare when it has less than this share of an even share of the rows: cleanlab's."""

NO_GROUP = -1


@dataclass(frozen=True, eq=False)
class Flags:
    """Per row: whether it is an issue, and its score."""

    is_issue: Bools
    score: Float64


def outliers(distances: Float64) -> Flags:
    """By the mean distance to the nearest rows; `distances`: float64[n, k]. A score of 0.5 is the median."""
    # Column by column, so that the order of additions is fixed.
    mean = np.zeros(len(distances))
    for column in distances.T:
        mean += column
    mean /= distances.shape[1]
    first, median, third = (_quantile(mean, quarter) for quarter in (1, 2, 3))
    return Flags(mean > third + OUTLIER_RANGES * (third - first), _share(median, mean))


def near_duplicate_radius(nearest: Float64) -> float:
    """Below this distance two rows are near duplicates. `nearest`: float64[n], each row's distance to its nearest."""
    return NEAR_DUPLICATE * _quantile(nearest, 2)


def near_duplicates(distances: Float64, radius: float) -> Flags:
    """By the distance to the nearest row: 0 for one at the same place, 0.5 for the median."""
    nearest = distances[:, 0]
    score = 1.0 - _share(_quantile(nearest, 2), nearest)
    return Flags((nearest < radius) | (nearest == 0.0), score)


def close_pairs(rows: Int64, distances: Float64, radius: float) -> list[tuple[int, int]]:
    """Pairs (row, neighbour) of near duplicates. `rows`: int64[n, k], the neighbours of row 0, 1, ..."""
    row, place = np.nonzero((distances < radius) | (distances == 0.0))
    return list(zip(row.tolist(), rows[row, place].tolist(), strict=True))


def groups(pairs: list[tuple[int, int]], rows: int) -> Int64:
    """int64[rows]: the group that pairs connect a row to, numbered in the order of first rows; or NO_GROUP."""
    parent = list(range(rows))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for one, other in pairs:
        low, high = sorted((root(one), root(other)))
        parent[high] = low
    paired = sorted({row for pair in pairs for row in pair})
    numbers: dict[int, int] = {}
    found = np.full(rows, NO_GROUP, np.int64)
    for row in paired:
        found[row] = numbers.setdefault(root(row), len(numbers))
    return found


def imbalanced(labels: Int64, classes: int) -> Flags:
    """Rows of classes with less than a tenth of an even share. The score: the share of an even one, at most 1."""
    known = labels >= 0
    counts = np.bincount(labels[known], minlength=max(1, classes))
    even = known.sum() / max(1, classes)
    shares = np.where(known, counts[np.where(known, labels, 0)] / max(even, 1e-300), 1.0)
    return Flags(known & (shares < RARE), np.minimum(shares, 1.0))


def _share(reference: float, values: Float64) -> Float64:
    """reference / (reference + value), 1 where both are 0."""
    total = reference + values
    return np.divide(reference, total, out=np.ones_like(values), where=total > 0)


def _quantile(values: Float64, quarter: int) -> float:
    """Linear interpolation between the sorted values, one step of arithmetic in a fixed order."""
    ordered = np.sort(values)
    place = (len(ordered) - 1) * quarter
    low, rest = divmod(place, 4)
    if not rest:
        return float(ordered[low])
    return float(ordered[low] + (ordered[low + 1] - ordered[low]) * (rest / 4))
