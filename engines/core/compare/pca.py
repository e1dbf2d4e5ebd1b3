"""Whether two fitted PCAs differ by no more than the difference of the features they were fitted to explains.

Features of another kind of CPU differ in their last bits. That moves an eigenvector by the perturbation of the matrix
over the gap between its eigenvalue and the others' (first-order perturbation theory: Stewart & Sun, "Matrix
Perturbation Theory", 1990, ch. V.2), so where eigenvalues are close together, components rotate among themselves
without anything being wrong, and no fixed tolerance fits all. Here the perturbation is measured on the features, and
each pair of components may rotate by what it explains, and no more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engines.core.reduce.pca import Pca

_SAFETY = 4.0
"""The bounds are of first order, and the noise along B's components is taken from A's."""

_FLOOR = 1e-10
"""What `eigh` itself may be off, as a share of the largest eigenvalue."""

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PcaComparison:
    """How two PCAs of equal shape agree.

    `identical`: bit for bit. `largest_angle`: the largest principal angle between the two spaces of k components, in
    radians. `angles`: float[k], the angle between each component and its like. `eigenvalue_difference`: the largest,
    relative to the eigenvalue. `tied_signs`: numbers (from 1) of components whose sign may turn, because their largest
    loadings of either sign are equal but for the noise. `unexplained_by_rotation`: float[k], how much a value of each
    component may differ, in its standard deviations, because B's component leaves A's space. `reasons`: why the two are
    different, if they are.
    """

    identical: bool
    largest_angle: float
    angles: list[float]
    eigenvalue_difference: float
    tied_signs: list[int]
    unexplained_by_rotation: list[float]
    reasons: list[str]


def compare_pca(a: Pca, b: Pca, noise: Float64) -> tuple[PcaComparison, Float64]:
    """Compare two PCAs; also the rotation float64[k, k] that takes values of A to those of B.

    `noise`: float64[k], the root mean square of the difference of the standardized features along A's components.
    """
    names = ("mean", "scale", "components", "eigenvalues")
    identical = all(getattr(a, name).tobytes() == getattr(b, name).tobytes() for name in names)
    k = len(a.components)
    if identical:
        return PcaComparison(True, 0.0, [0.0] * k, 0.0, [], [0.0] * k, []), np.eye(k)
    rotation = a.components @ b.components.T
    outside = b.components - rotation.T @ a.components
    values, floor = a.eigenvalues, _FLOOR * a.eigenvalues[0]
    root = np.sqrt(values[:k])
    # |v_i' dC v_j| <= rms(Z v_i) rms(dZ v_j) + rms(dZ v_i) rms(Z v_j)
    perturbation = _SAFETY * (root[:, None] * noise[None, :] + noise[:, None] * root[None, :]) + floor
    gaps = np.abs(values[:k, None] - values[None, :k])
    reasons = []
    if not (np.abs(values[:k] - b.eigenvalues[:k]) <= np.diagonal(perturbation)).all():
        reasons.append("the spectrum differs by more than the features explain")
    excess = np.abs(rotation) * gaps - perturbation
    np.fill_diagonal(excess, -np.inf)
    if not (excess <= 0).all():
        i, j = np.unravel_index(int(np.nan_to_num(excess, nan=np.inf).argmax()), excess.shape)
        reasons.append(f"components {min(i, j) + 1} and {max(i, j) + 1} are rotated by more than the features explain")
    # Towards the components that are left out, of which the next one is closest and largest.
    rest = np.linalg.norm(outside, axis=1)
    next_value = values[k] if k < len(values) else 0.0
    worst_noise = noise.max(initial=0.0)
    # The noise along what is left out is not measured; per direction it is like the largest along what is kept.
    allowed_rest = _SAFETY * np.sqrt(len(values)) * (root * worst_noise + noise * np.sqrt(next_value)) + floor
    beyond = rest * np.abs(values[:k] - next_value) > allowed_rest
    if not np.isfinite(rest).all() or beyond.any():
        reasons.append(f"component {int(beyond.argmax()) + 1} leaves the space by more than the features explain")
    turned, tied = _turned_signs(a, b, rotation, perturbation, gaps)
    if turned:
        shown = ", ".join(map(str, turned[:5]))
        reasons.append(f"the sign of {len(turned)} components is turned: {shown}{', ...' if len(turned) > 5 else ''}")
    cosine = np.abs(np.diagonal(rotation)).clip(max=1.0)
    sine = np.linalg.norm(b.components - np.diagonal(rotation)[:, None] * a.components, axis=1)
    largest = float(np.arcsin(np.clip(np.linalg.norm(outside, 2), 0, 1))) if np.isfinite(outside).all() else np.inf
    # 10 standard deviations of the largest component left out: no projected value is beyond that.
    escaped = 10 * rest * np.sqrt(next_value) / root.clip(min=np.finfo(np.float32).eps)
    comparison = PcaComparison(
        identical=False,
        largest_angle=largest,
        angles=np.arctan2(sine, cosine).tolist(),
        eigenvalue_difference=float((np.abs(values - b.eigenvalues)[:k] / values[:k].clip(min=floor)).max()),
        tied_signs=tied,
        unexplained_by_rotation=escaped.tolist(),
        reasons=reasons,
    )
    return comparison, rotation


def _turned_signs(
    a: Pca, b: Pca, rotation: Float64, perturbation: Float64, gaps: Float64
) -> tuple[list[int], list[int]]:
    """Numbers of components whose sign is wrong, and of those whose sign was free to turn."""
    turned: list[int] = []
    tied: list[int] = []
    for i in range(len(rotation)):
        others = np.arange(len(rotation)) != i
        with np.errstate(divide="ignore"):
            room = float(np.sqrt(((perturbation[i, others] / gaps[i, others]) ** 2).sum()))
        for pca in (a, b):
            row = pca.components[i]
            # The rule of signs: the largest loading is positive, unless the largest negative one equals it.
            if row.max() < -row.min() * (1 - 1e-12) and i + 1 not in turned:
                turned.append(i + 1)
        if rotation[i, i] < 0 and i + 1 not in turned:
            row = a.components[i]
            free = room >= 0.5 or row.max() + row.min() <= 2 * room
            (tied if free else turned).append(i + 1)
    return turned, tied
