"""The one error-free addition that exact sums, pairs of float64 and residuals are made with."""

from __future__ import annotations

from engines.core.reduce.moments import Float64


def two_sum(a: Float64, b: Float64) -> tuple[Float64, Float64]:
    """The rounded sum and what rounding lost, exactly (Knuth, TAOCP vol. 2, 4.2.2, theorem B)."""
    total = a + b
    behind = total - a
    return total, (a - (total - behind)) + (b - behind)
