"""Eigenpairs do not depend on what LAPACK proposed, down to the last stored bit, whatever the spectrum."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from engines.core.networks.mobilenet_v2 import MOBILENET_V2
from engines.core.reduce.correlation import correlation
from engines.core.reduce.eigen import VECTOR_GRID_BITS, Eigenpairs, largest_eigenpairs
from engines.core.reduce.moments import moments_of
from engines.core.reduce.refinement import CLUSTER_GAP, SplitMatrix, Vectors, refined, shifts
from engines.core.reduce.rounding import decided
from tests.unit.blas_digests import CASES

Float64 = npt.NDArray[np.float64]

_eigh = np.linalg.eigh


def pairs_of(matrix: Float64, k: int) -> Eigenpairs:
    return largest_eigenpairs(matrix, lambda _: k)


def matrix_of(case: str) -> tuple[Float64, int]:
    features, components = CASES[case]
    matrix = correlation(moments_of([features], features.shape[1], MOBILENET_V2.grid))
    return matrix, int(components) if components >= 1 else 50


def other_lapack(seed: int, noise: float) -> Any:
    """`eigh` with other signs, other bases of equal eigenvalues, and errors of its own."""
    random = np.random.default_rng(seed)

    def eigh(matrix: Float64) -> tuple[Float64, Float64]:
        values, vectors = _eigh(matrix)
        signs = random.choice([-1.0, 1.0], len(values))
        vectors = vectors * signs
        start = 0
        for stop in range(1, len(values) + 1):
            if stop == len(values) or values[stop] - values[stop - 1] > 1e-10:
                turn, _ = np.linalg.qr(random.normal(size=(stop - start, stop - start)))
                vectors[:, start:stop] = vectors[:, start:stop] @ turn
                start = stop
        vectors = vectors + noise * random.normal(size=vectors.shape) / np.sqrt(len(vectors))
        return values + noise * 1e-2 * random.normal(size=values.shape), vectors

    return eigh


@pytest.mark.parametrize("case", [case for case in CASES if case != "1280 features"])
@pytest.mark.parametrize("noise", [1e-14, 1e-12])
def test_what_lapack_proposes_does_not_matter(case: str, noise: float, monkeypatch: pytest.MonkeyPatch) -> None:
    matrix, k = matrix_of(case)
    expected = pairs_of(matrix, k)
    assert expected.unsettled == ()
    for seed in range(3):
        with monkeypatch.context() as patch:
            patch.setattr(np.linalg, "eigh", other_lapack(seed, noise))
            proposed_otherwise = pairs_of(matrix, k)
        assert proposed_otherwise.vectors.tobytes() == expected.vectors.tobytes()
        assert proposed_otherwise.values.tobytes() == expected.values.tobytes()
        assert proposed_otherwise.tied == expected.tied


@pytest.mark.parametrize("case", CASES)
def test_they_are_eigenpairs(case: str) -> None:
    matrix, k = matrix_of(case)
    pairs = pairs_of(matrix, k)
    vectors = pairs.vectors
    # Vectors are rounded to 5.7e-14, eigenvalues to 2.3e-10 where equal ones fill up the end, else to 2.3e-13.
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(k), rtol=0, atol=2e-12)
    np.testing.assert_allclose(matrix @ vectors.T, vectors.T * pairs.values[:k], rtol=0, atol=1e-9)
    np.testing.assert_allclose(pairs.values, _eigh(matrix)[0][::-1], rtol=0, atol=3e-10)
    assert (np.diff(pairs.values) <= 0).all()
    assert (vectors[np.arange(k), np.abs(vectors).argmax(axis=1)] > 0).all()
    units = vectors * 2.0**VECTOR_GRID_BITS
    np.testing.assert_array_equal(units, np.rint(units))


@pytest.mark.parametrize("gap", [1e-3, 1e-6, 1e-8, 4e-9, 1.2e-9])
def test_close_eigenvalues_are_told_apart_down_to_the_bound(gap: float, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(3)
    turn, _ = np.linalg.qr(random.normal(size=(60, 60)))
    values = np.linspace(0.9, 0.1, 60)
    values[7] = values[6] - gap
    matrix = turn @ np.diag(values) @ turn.T
    matrix = (matrix + matrix.T) / 2
    expected = pairs_of(matrix, 10)
    assert (expected.tied, expected.unsettled) == ((), ())
    monkeypatch.setattr(np.linalg, "eigh", other_lapack(0, 1e-13))
    assert pairs_of(matrix, 10).vectors.tobytes() == expected.vectors.tobytes()


def test_eigenvalues_closer_than_the_bound_count_as_equal() -> None:
    matrix = np.diag([0.5, 0.5 - CLUSTER_GAP / 2, 0.25, 0.125])
    pairs = pairs_of(matrix, 3)
    assert pairs.tied == (1, 2)
    np.testing.assert_array_equal(pairs.vectors, np.eye(4)[:3])


def test_a_matrix_of_equal_eigenvalues_alone_has_the_axes_as_its_basis() -> None:
    pairs = pairs_of(np.eye(5), 3)
    assert pairs.tied == (1, 2, 3)
    np.testing.assert_array_equal(pairs.vectors, np.eye(5)[:3])


def test_residuals_are_exact_where_float64_has_nothing_left() -> None:
    random = np.random.default_rng(4)
    matrix = random.integers(-(2**52), 2**52, (30, 30)) * 2.0**-52
    matrix = np.triu(matrix) + np.triu(matrix, 1).T
    vectors = Vectors.of(random.uniform(-1, 1, (30, 2))).corrected(random.uniform(-1, 1, (30, 2)) * 2.0**-60)
    theta = shifts(random.uniform(0, 30, 2))
    residuals = SplitMatrix(matrix).residuals(vectors, theta)
    whole = (matrix * 2.0**52).astype(np.int64).astype(object)
    exact = whole @ vectors.integers() - (theta * 2.0**52).astype(np.int64).astype(object) * vectors.integers()
    unit = 1 << 155
    assert (
        max(abs(float(number / unit) - float(value)) for number, value in zip(exact.flat, residuals.flat, strict=True))
        < 1e-14
    )
    # Near an eigenvector everything cancels, and what is left is right to 1e-28.
    values, found = _eigh(matrix)
    some = Vectors.of(found[:, :2])
    theta = shifts(values[:2])
    residuals = SplitMatrix(matrix).residuals(some, theta)
    exact = whole @ some.integers() - (theta * 2.0**52).astype(np.int64).astype(object) * some.integers()
    assert np.abs(residuals).max() < 1e-12
    assert (
        max(abs(number / unit - float(value)) for number, value in zip(exact.flat, residuals.flat, strict=True)) < 1e-27
    )


def test_three_iterations_go_from_nine_right_digits_to_twenty() -> None:
    matrix, k = matrix_of("a falling spectrum")
    values, vectors = _eigh(matrix)
    vectors = vectors[:, ::-1] + 1e-9 * np.random.default_rng(5).normal(size=vectors.shape)
    corrections = [error for *_, error in refined(SplitMatrix(matrix), values[::-1], vectors, k)]
    assert corrections[0] > 1e-10
    assert corrections[1] < 1e-13
    assert corrections[2] < 1e-20


def test_a_rounding_near_a_boundary_is_not_decided() -> None:
    boundary = (3 + 0.5 + 0.0618) * 2.0**-10
    for sign in (1.0, -1.0):
        high = sign * np.array([boundary, boundary, 0.0, 2.0**-11])
        low = sign * np.array([1e-9, -1e-9, 1e-9, 0.0])
        rounded, sure = decided(high, low, 10, 1e-10)
        assert (rounded * 2.0**10).tolist() == [sign * 4, sign * 3, 0, 0]
        assert sure.all()
        assert decided(high, low, 10, 2e-9)[1].tolist() == [False, False, True, True]
