"""A projected value is an exact sum, rounded once: it depends on the row and the PCA alone."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest

from engines.core.networks.mobilenet_v2 import MOBILENET_V2
from engines.core.reduce.moments import moments_of
from engines.core.reduce.pca import Pca, fit_pca, project
from engines.core.reduce.projection import fold

WIDTH = 1280


def made_up(rows: int, seed: int = 0) -> npt.NDArray[np.float32]:
    random = np.random.default_rng(seed)
    hidden = random.normal(size=(rows, 30)) @ random.normal(size=(30, WIDTH)) / 6
    features = np.clip(1.0 + hidden + random.normal(0, 0.1, (rows, WIDTH)), 0, 6)
    features[:, 5] = 1.0
    features[:, 6] = 0.0
    features[0, 6] = 2.0**-21  # the smallest scale there is: one photo, by one step
    return MOBILENET_V2.grid.snap(features.astype(np.float32))


@pytest.fixture(scope="module")
def features() -> npt.NDArray[np.float32]:
    return made_up(300)


@pytest.fixture(scope="module")
def pca(features: npt.NDArray[np.float32]) -> Pca:
    return fit_pca(moments_of([features], WIDTH, MOBILENET_V2.grid), 20)


def exact(pca: Pca, row: npt.NDArray[np.float32], component: int) -> Fraction:
    """By fractions, of the stored PCA."""
    return sum(
        (
            Fraction(float(loading)) * (Fraction(float(value)) - Fraction(float(mean))) / Fraction(float(scale))
            for loading, value, mean, scale in zip(pca.components[component], row, pca.mean, pca.scale, strict=True)
            if scale > 0
        ),
        Fraction(0),
    )


def test_values_are_the_exact_sums_but_for_the_grid_of_the_folded_matrix(
    pca: Pca, features: npt.NDArray[np.float32]
) -> None:
    values = project(pca, features)
    for row, component in ((0, 0), (0, 19), (1, 3), (150, 7), (299, 19)):
        expected = exact(pca, features[row], component)
        # Half a unit in the last place of float32, and 2**-22 of the grid in the worst case (1e-9 is usual).
        assert abs(Fraction(float(values[row, component])) - expected) <= Fraction(
            float(np.spacing(np.abs(values[row, component]))) / 2 + 1e-8
        )


def test_sums_that_cancel_leave_nothing() -> None:
    random = np.random.default_rng(2)
    order = random.permutation(WIDTH)
    halves, loadings = random.uniform(0, 4, (150, WIDTH // 2)), random.normal(size=(5, WIDTH // 2))
    features = MOBILENET_V2.grid.snap(np.concatenate([halves, halves], axis=1)[:, order].astype(np.float32))
    components = np.concatenate([loadings, -loadings], axis=1)[:, order]
    pca = Pca(np.zeros(WIDTH), np.ones(WIDTH), components, np.ones(WIDTH), MOBILENET_V2.grid)
    # Every order of adding would leave another rest.
    assert not project(pca, features).any()


@pytest.mark.parametrize("size", [1, 7, 64, 299, 513])
def test_an_image_is_projected_alike_in_any_company(pca: Pca, size: int) -> None:
    features = made_up(600, seed=1)
    together = project(pca, features)
    parts = [project(pca, features[start : start + size]) for start in range(0, len(features), size)]
    assert np.concatenate(parts).tobytes() == together.tobytes()
    assert project(pca, features[::-1])[::-1].tobytes() == together.tobytes()
    assert project(pca, features[:0]).shape == (0, 20)


def test_only_features_of_tiny_scale_have_a_third_digit(pca: Pca) -> None:
    projection = fold(pca.grid, pca.mean, pca.scale, pca.components)
    first, *others = projection.digits
    assert isinstance(first.features, np.ndarray)
    assert 6 in first.features.tolist()
    assert len(first.features) < 20
    assert len(others) >= 2


def test_features_off_the_grid_are_an_error(pca: Pca, features: npt.NDArray[np.float32]) -> None:
    off = features.copy()
    off[3, 4] = 0.1
    with pytest.raises(ValueError, match="not multiples"):
        project(pca, off)
