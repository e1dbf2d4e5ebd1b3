"""The map: photos in the plane, so that neighbours stay neighbours. scikit-learn's t-SNE.

scikit-learn is what the linear probe needs already, and has wheels for every machine this runs on; umap-learn and
pacmap bring a compiler (numba), openTSNE has no wheel for Linux on ARM. One thread and a fixed seed: the same map each
time on one machine. Between machines it may differ, as one map is as good as another.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from threadpoolctl import threadpool_limits

from engines.core import tables
from engines.core.neighbours import nearest

MAP_ROWS = 1_500
"""Photos on the map at most, chosen by hash: what a report of a few MB can show one by one."""

MAP_NEIGHBOURS = 8

_SEED = 0
_PERPLEXITY = 30.0

Float32 = npt.NDArray[np.float32]


def neighbour_map(values: Float32) -> Float32:
    """float32[n, k] -> float32[n, 2], in [-1, 1]. Rows of one point, and fewer than four, lie in a line."""
    count = len(values)
    if count < 4 or not np.ptp(values, axis=0).any():
        return np.stack([np.linspace(-1, 1, count), np.zeros(count)], axis=1).astype(np.float32)
    from sklearn.manifold import TSNE

    start = np.zeros((count, 2))
    start[:, : min(2, values.shape[1])] = values[:, :2]
    start *= 1e-4 / max(float(start[:, 0].std()), 1e-12)
    perplexity = min(_PERPLEXITY, (count - 1) / 3)
    with threadpool_limits(limits=1):
        plane = TSNE(init=start, perplexity=perplexity, random_state=_SEED, n_jobs=1).fit_transform(values)
    low, high = plane.min(axis=0), plane.max(axis=0)
    placed: Float32 = (2 * (plane - low) / np.where(high > low, high - low, 1) - 1).astype(np.float32)
    return placed


def layout_table(paths: list[str], labels: list[str], values: Float32) -> pa.Table:
    """The map of rows of results, float32[n, k], as tables.LAYOUT."""
    near = neighbours_within(values)
    offsets = np.arange(len(values) + 1, dtype=np.int32) * near.shape[1]
    neighbours = pa.ListArray.from_arrays(offsets, pa.array(near.ravel()))
    columns = [paths, labels, *neighbour_map(values).T, *first_two(values).T, neighbours]
    return pa.table(columns, schema=tables.LAYOUT)


def neighbours_within(values: Float32) -> npt.NDArray[np.int64]:
    """The nearest others of each row, among these rows: int64[n, up to 8]."""
    return nearest(values, values, MAP_NEIGHBOURS, np.arange(len(values))).rows


def first_two(values: Float32) -> Float32:
    """The first two components, float32[n, 2]; 0 for one that is not there."""
    plane = np.zeros((len(values), 2), np.float32)
    plane[:, : min(2, values.shape[1])] = values[:, :2]
    return plane
