"""Standardize and PCA: fit from moments, project rows, keep the fitted model. The same bits on any CPU.

Conventions: sample standard deviation (n - 1) as in Spark's StandardScaler; a constant feature becomes 0; components in
the order of falling eigenvalues; in each component the loading of largest absolute value is positive.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from threadpoolctl import threadpool_limits

from engines.core import tables
from engines.core.errors import InputError
from engines.core.reduce.arrays import dump_arrays, load_arrays
from engines.core.reduce.correlation import correlation
from engines.core.reduce.eigen import largest_eigenpairs
from engines.core.reduce.grid import Grid
from engines.core.reduce.moments import Float64, Moments, standardization
from engines.core.reduce.projection import Projection, fold

RULES = "correlation, n - 1, largest loading positive, refined, exact sums; 3"
"""Names the conventions above. Part of the version of a PCA and its results: changed whenever equal features would give
others."""

_GRID_BEFORE = Grid(0.0, 8.0)


@dataclass(frozen=True, eq=False)
class Pca:
    """A fitted PCA of features on `grid`.

    `mean`, `scale`: float64[d]; `components`: float64[k, d]; `eigenvalues`: float64[d], falling.

    The eigenvalues are those of the correlation matrix: the variance of each component of the standardized features.
    `tied`, `unsettled`: numbers of components, from 1, see `engines.core.reduce.eigen.Eigenpairs`. `rules`: the RULES
    it was fitted by, empty for a file of before they were kept.
    """

    mean: Float64
    scale: Float64
    components: Float64
    eigenvalues: Float64
    grid: Grid
    tied: tuple[int, ...] = ()
    unsettled: tuple[int, ...] = ()
    rules: str = RULES

    @cached_property
    def projection(self) -> Projection:
        """What `project` applies; made once."""
        return fold(self.grid, self.mean, self.scale, self.components)

    @property
    def ratios(self) -> Float64:
        """float64[d]: the share of the variance each component explains."""
        return _shares(self.eigenvalues, self.scale)

    @property
    def explained_variance(self) -> float:
        """The share explained by the k components together."""
        return math.fsum(self.ratios[: len(self.components)].tolist())

    def components_for(self, share: float) -> int:
        """The smallest number of components that explains at least `share`."""
        return _smallest_for(self.ratios, share)


def check_components(components: float, width: int) -> int | float:
    """`components` of `width` features as an int in 1..width or a share in (0, 1). Raises InputError for others."""
    hint = f"Give a whole number from 1 to {width}, or a share such as 0.95."
    if isinstance(components, bool) or not isinstance(components, int | float):
        raise InputError(f"components cannot be {components!r}", hint)
    if 0 < components < 1:
        return float(components)
    # In this order: an infinite number, or none (nan), cannot be made an int.
    if not 1 <= components <= width or components != int(components):
        raise InputError(f"components cannot be {components:g}", hint)
    return int(components)


def check_enough_images(images: int, components: float) -> None:
    """Raise InputError unless the number of images is above the number of components (and at least 2)."""
    least = int(components) + 1 if components >= 1 else 2
    if images < least:
        wanted = f"{components:g} components" if components >= 1 else f"components that explain {components:g}"
        fewer = f", or fewer components: --components {images - 1}" if images > 1 else ""
        raise InputError(f"{images:,} images are too few for {wanted}", f"Use at least {least:,} images{fewer}.")


def fit_pca(moments: Moments, components: float) -> Pca:
    """PCA of the standardized features: eigenpairs of their correlation matrix, see `engines.core.reduce.eigen`.

    `components`: an int k, or a share in (0, 1) for the smallest k that explains at least that share. Raises InputError
    for fewer rows than k + 1, and when no feature varies.
    """
    components = check_components(components, len(moments.sums))
    check_enough_images(moments.rows, components)
    mean, scale = standardization(moments)
    if not scale.any():
        raise InputError("all images have the same features", "There is no variance for a PCA to explain.")

    def count(eigenvalues: Float64) -> int:
        k = components if isinstance(components, int) else _smallest_for(_shares(eigenvalues, scale), components)
        check_enough_images(moments.rows, k)
        return k

    # One thread: no more than a worker of the other stages has.
    with threadpool_limits(limits=1):
        pairs = largest_eigenpairs(correlation(moments), count)
    return Pca(mean, scale, pairs.vectors, pairs.values, moments.grid, pairs.tied, pairs.unsettled)


def project(pca: Pca, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """float32[n, d] on the grid -> float32[n, k]: standardized, then projected, see `engines.core.reduce.projection`.

    A row's projection depends on this row and the PCA alone, to the last bit.
    """
    return pca.projection(features)


def standardized(pca: Pca, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Features [n, d] in standard deviations from the mean; 0 for a constant feature. The same bits on every CPU.

    Distances between them are those of all components together: components only turn the space.
    """
    shifted = features.astype(np.float64) - pca.mean
    return np.divide(shifted, pca.scale, out=np.zeros_like(shifted), where=pca.scale > 0).astype(np.float32)


def dump_pca(pca: Pca) -> bytes:
    """The fitted PCA as npz (no pickle). Equal models give equal bytes, with any Python."""
    arrays: dict[str, npt.NDArray[Any]] = {
        "mean": pca.mean,
        "scale": pca.scale,
        "components": pca.components,
        "eigenvalues": pca.eigenvalues,
        "grid": np.array([pca.grid.low, pca.grid.high]),
        "tied": np.array(pca.tied, np.int32),
        "unsettled": np.array(pca.unsettled, np.int32),
        "rules": np.array(pca.rules),
    }
    return dump_arrays(arrays)


def load_pca(content: bytes) -> Pca:
    """The inverse of `dump_pca`. Files of RULES 2 and before say nothing of ties, and are all of one grid."""
    arrays = load_arrays(content)
    tied, unsettled = (tuple(arrays[name].tolist()) if name in arrays else () for name in ("tied", "unsettled"))
    rules = str(arrays["rules"]) if "rules" in arrays else ""
    grid = Grid(*arrays["grid"].tolist()) if "grid" in arrays else _GRID_BEFORE
    fitted = {name: arrays[name] for name in ("mean", "scale", "components", "eigenvalues")}
    return Pca(**fitted, grid=grid, tied=tied, unsettled=unsettled, rules=rules)


def spectrum_table(pca: Pca) -> pa.Table:
    """All d components with eigenvalue, explained share and cumulative share (tables.SPECTRUM)."""
    number = np.arange(1, len(pca.eigenvalues) + 1, dtype=np.int32)
    return pa.table([number, pca.eigenvalues, pca.ratios, np.cumsum(pca.ratios)], schema=tables.SPECTRUM)


def _shares(eigenvalues: Float64, scale: Float64) -> Float64:
    # The eigenvalues add up to the trace: 1 for each feature that varies.
    shares: Float64 = eigenvalues / np.count_nonzero(scale)
    return shares


def _smallest_for(ratios: Float64, share: float) -> int:
    # A cumulative sum of 1280 shares may end a few last bits below 1.
    return min(int(np.searchsorted(np.cumsum(ratios), share - 1e-12)) + 1, len(ratios))
