"""Standardize and PCA: fit from moments, project rows, keep the fitted model.

Conventions: sample standard deviation (n - 1) as in Spark's StandardScaler; a constant feature becomes 0; components in
the order of falling eigenvalues; in each component the loading of largest absolute value is positive.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from threadpoolctl import threadpool_limits

from engines.core import tables
from engines.core.errors import InputError
from engines.core.reduce.moments import Float64, Moments, correlation, standardization

RULES = "correlation, n - 1, largest loading positive; 2"
"""Names the conventions above. Part of the version of a PCA and its results: changed whenever equal features would give
others."""

_BLOCK_ROWS = 64


@dataclass(frozen=True, eq=False)
class Pca:
    """A fitted PCA. `mean`, `scale`: float64[d]; `components`: float64[k, d]; `eigenvalues`: float64[d], falling.

    The eigenvalues are those of the correlation matrix: the variance of each component of the standardized features.
    """

    mean: Float64
    scale: Float64
    components: Float64
    eigenvalues: Float64

    @property
    def ratios(self) -> Float64:
        """float64[d]: the share of the variance each component explains."""
        ratios: Float64 = self.eigenvalues / self.eigenvalues.sum()
        return ratios

    @property
    def explained_variance(self) -> float:
        """The share explained by the k components together."""
        return float(self.ratios[: len(self.components)].sum())

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
    """PCA of the standardized features by `eigh` of their correlation matrix, in float64 with one BLAS thread.

    `components`: an int k, or a share in (0, 1) for the smallest k that explains at least that share. Raises InputError
    for fewer rows than k + 1, and when no feature varies.
    """
    components = check_components(components, len(moments.sums))
    check_enough_images(moments.rows, components)
    mean, scale = standardization(moments)
    if not scale.any():
        raise InputError("all images have the same features", "There is no variance for a PCA to explain.")
    # One thread: the number of threads changes the last bits of LAPACK.
    with threadpool_limits(limits=1):
        values, vectors = np.linalg.eigh(correlation(moments))
    eigenvalues = values[::-1].clip(min=0.0)
    k = components if isinstance(components, int) else _smallest_for(eigenvalues / eigenvalues.sum(), components)
    check_enough_images(moments.rows, k)
    rows = np.ascontiguousarray(vectors[:, ::-1].T[:k])
    peaks = rows[np.arange(k), np.abs(rows).argmax(axis=1)]
    return Pca(mean, scale, rows * np.sign(peaks)[:, np.newaxis], eigenvalues)


def project(pca: Pca, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """float32[n, d] -> float32[n, k]: standardized, then projected, in float64 with one BLAS thread.

    A row's projection depends on this row alone, to the last bit, whatever rows are around it.
    """
    inverse = np.divide(1.0, pca.scale, out=np.zeros_like(pca.scale), where=pca.scale > 0)
    projected = np.empty((len(features), len(pca.components)), np.float32)
    # In blocks of one size, the last one filled up: BLAS sums in an order that depends on the shape of the matrix.
    block = np.zeros((_BLOCK_ROWS, len(pca.mean)))
    with threadpool_limits(limits=1):
        for start in range(0, len(features), _BLOCK_ROWS):
            rows = features[start : start + _BLOCK_ROWS]
            block[: len(rows)] = (rows - pca.mean) * inverse
            projected[start : start + len(rows)] = (block @ pca.components.T)[: len(rows)]
    return projected


def dump_pca(pca: Pca) -> bytes:
    """The fitted PCA as npz (no pickle). Equal models give equal bytes."""
    sink = io.BytesIO()
    np.savez(sink, mean=pca.mean, scale=pca.scale, components=pca.components, eigenvalues=pca.eigenvalues)
    return sink.getvalue()


def load_pca(content: bytes) -> Pca:
    """The inverse of `dump_pca`."""
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return Pca(arrays["mean"], arrays["scale"], arrays["components"], arrays["eigenvalues"])


def spectrum_table(pca: Pca) -> pa.Table:
    """All d components with eigenvalue, explained share and cumulative share (tables.SPECTRUM)."""
    number = np.arange(1, len(pca.eigenvalues) + 1, dtype=np.int32)
    return pa.table([number, pca.eigenvalues, pca.ratios, np.cumsum(pca.ratios)], schema=tables.SPECTRUM)


def _smallest_for(ratios: Float64, share: float) -> int:
    # A cumulative sum of 1280 shares may end a few last bits below 1.
    return min(int(np.searchsorted(np.cumsum(ratios), share - 1e-12)) + 1, len(ratios))
