"""How far two parts of the photos lie apart: the Fréchet distance between normal distributions of their moments."""

from __future__ import annotations

import numpy as np
from threadpoolctl import threadpool_limits

from engines.core.reduce.correlation import correlation
from engines.core.reduce.moments import Float64, Moments, standardization


def frechet_distance(a: Moments, b: Moments, scale: Float64) -> float | None:
    """|mean a - mean b|**2 + trace(cov a + cov b - 2 (cov a cov b)**(1/2)), features in units of `scale`, float64[d].

    Dowson and Landau, "The Fréchet distance between multivariate normal distributions", J. Multivar. Anal. 12, 1982.
    Features of scale 0 are left out. None where a part has fewer than 2 rows. Moments are exact; eigenvalues are
    LAPACK's, so that the last digits may differ between machines. Parts of few rows lie far apart by chance alone.
    """
    if min(a.rows, b.rows) < 2:
        return None
    used = scale > 0
    (mean_a, cov_a), (mean_b, cov_b) = (_moments_in(moments, scale) for moments in (a, b))
    mean_a, mean_b = mean_a[used], mean_b[used]
    cov_a, cov_b = cov_a[np.ix_(used, used)], cov_b[np.ix_(used, used)]
    with threadpool_limits(limits=1):
        values, vectors = np.linalg.eigh(cov_a)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        middle = np.linalg.eigvalsh(root.T @ cov_b @ root)
    trace = np.trace(cov_a) + np.trace(cov_b) - 2.0 * np.sqrt(np.maximum(middle, 0.0)).sum()
    return float(((mean_a - mean_b) ** 2).sum() + max(0.0, float(trace)))


def _moments_in(moments: Moments, scale: Float64) -> tuple[Float64, Float64]:
    """Mean and covariance in units of `scale`."""
    mean, deviation = standardization(moments)
    unit = np.where(scale > 0, scale, 1.0)
    return mean / unit, correlation(moments) * np.outer(deviation / unit, deviation / unit)
