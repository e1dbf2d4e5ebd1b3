"""How much of the variance of photos a PCA explains that was fitted to others."""

from __future__ import annotations

import numpy as np
from threadpoolctl import threadpool_limits

from engines.core.reduce.correlation import correlation
from engines.core.reduce.moments import Moments, standardization
from engines.core.reduce.pca import Pca

_DIGITS = 9
"""Below these, the sum depends on the BLAS."""


def explained_by(pca: Pca, moments: Moments) -> float:
    """The share of the variance of the photos of `moments`, about their own mean, that `pca` explains, in [0, 1].

    Features are standardized as the PCA does it: with S their covariance then and C the components, it is
    trace(C S C') / trace(S). Features that were constant where it was fitted do not count. 0 where nothing varies.
    """
    if moments.rows < 2:
        return 0.0
    deviation = standardization(moments)[1]
    ratio = np.divide(deviation, pca.scale, out=np.zeros_like(deviation), where=pca.scale > 0)
    whole = float((ratio**2).sum())
    if whole == 0.0:
        return 0.0
    weighted = pca.components * ratio
    with threadpool_limits(limits=1):
        explained = float(((weighted @ correlation(moments)) * weighted).sum())
    return round(explained / whole, _DIGITS)
