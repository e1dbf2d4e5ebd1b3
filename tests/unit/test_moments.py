"""Moments are whole numbers: they depend on the set of rows alone, and equal exact fractions."""

from __future__ import annotations

from fractions import Fraction
from math import sqrt

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from engines.core.errors import InputError
from engines.core.networks.mobilenet_v2 import MOBILENET_V2
from engines.core.reduce.correlation import correlation
from engines.core.reduce.moments import (
    MAX_ROWS,
    Moments,
    moments_of,
    no_moments,
    standardization,
)

GRID = MOBILENET_V2.grid
GRID_BITS = GRID.fraction_bits
STEP = Fraction(1, 2**GRID_BITS)
LARGEST = 2 ** (GRID_BITS + 3) - 1
"""The largest feature in units of the grid: just below 8."""

Float32 = npt.NDArray[np.float32]


def on_grid(whole: npt.NDArray[np.int64]) -> Float32:
    return (whole * 2.0**-GRID_BITS).astype(np.float32)


def rows_of_features(least: int = 0) -> st.SearchStrategy[npt.NDArray[np.int64]]:
    """Features in units of the grid: int64[rows, width]; half of them from the extremes."""
    values = st.integers(0, LARGEST) | st.sampled_from([0, 1, 2**12 - 1, 2**12, LARGEST - 1, LARGEST])
    return hnp.arrays(np.int64, st.tuples(st.integers(least, 12), st.integers(1, 5)), elements=values)


def products(moments: Moments) -> list[int]:
    return [(int(high) << 24) + int(low) for high, low in zip(moments.high, moments.low, strict=True)]


@given(rows_of_features())
def test_sums_are_exact(whole: npt.NDArray[np.int64]) -> None:
    rows, width = whole.shape
    moments = moments_of([on_grid(whole)], width, GRID)
    plain = whole.tolist()
    assert moments.rows == rows
    assert moments.sums.tolist() == [sum(row[i] for row in plain) for i in range(width)]
    assert products(moments) == [sum(row[i] * row[j] for row in plain) for i in range(width) for j in range(i, width)]


@given(rows_of_features(), st.data())
def test_no_split_order_or_grouping_changes_a_bit(whole: npt.NDArray[np.int64], data: st.DataObject) -> None:
    width = whole.shape[1]
    features = on_grid(whole)
    expected = moments_of([features], width, GRID)
    shuffled = features[data.draw(st.permutations(range(len(features))))]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(features)), max_size=5)))
    blocks = np.split(shuffled, cuts)
    assert moments_of(blocks, width, GRID) == expected
    merged = [moments_of([block], width, GRID) for block in blocks]
    while len(merged) > 1:  # merge any two, in any order, until one is left
        first = merged.pop(data.draw(st.integers(0, len(merged) - 1)))
        second = merged.pop(data.draw(st.integers(0, len(merged) - 1)))
        merged.append(first + second)
    assert merged[0] == expected
    assert no_moments(width, GRID) + merged[0] == expected


@given(rows_of_features(least=2))
def test_mean_and_deviation_are_the_exact_values_rounded_once(whole: npt.NDArray[np.int64]) -> None:
    n, width = whole.shape
    mean, scale = standardization(moments_of([on_grid(whole)], width, GRID))
    for feature in range(width):
        column = [Fraction(value) * STEP for value in whole[:, feature].tolist()]
        exact_mean = sum(column) / n
        variance = sum((value - exact_mean) ** 2 for value in column) / (n - 1)
        assert mean[feature] == float(exact_mean)
        assert scale[feature] == sqrt(float(variance))


@given(rows_of_features(least=2))
def test_correlations_are_those_of_exact_fractions(whole: npt.NDArray[np.int64]) -> None:
    n, width = whole.shape
    matrix = correlation(moments_of([on_grid(whole)], width, GRID))
    np.testing.assert_array_equal(matrix, matrix.T)
    columns = [[Fraction(value) for value in whole[:, feature].tolist()] for feature in range(width)]
    centered = [[value - sum(column) / n for value in column] for column in columns]
    for i in range(width):
        for j in range(width):
            squares = sum(x * x for x in centered[i]) * sum(x * x for x in centered[j])
            product = sum(x * y for x, y in zip(centered[i], centered[j], strict=True))
            # By squares of whole numbers, as the root of a fraction is none: what is rounded is off by half a unit.
            units = Fraction(matrix[i, j]) * 2**52
            assert units.denominator == 1
            below, above = ((units - Fraction(1, 2)), (units + Fraction(1, 2)))
            exact = product * abs(product) * Fraction(2**104) / squares if squares else Fraction(0)
            assert below * abs(below) <= exact <= above * abs(above)


def test_a_constant_feature_has_no_deviation_and_no_correlation() -> None:
    features = GRID.snap(np.array([[1.1, 0.2], [1.1, 0.3], [1.1, 5.9]], np.float32))
    moments = moments_of([features], 2, GRID)
    _, scale = standardization(moments)
    assert scale[0] == 0.0
    assert scale[1] > 0.0
    assert correlation(moments).tolist() == [[0.0, 0.0], [0.0, 1.0]]


def test_more_rows_than_the_doubles_hold_are_still_exact() -> None:
    # 2**24 rows is where the sums are moved from doubles to whole numbers. All features are as large as they can be.
    block = np.broadcast_to(on_grid(np.array([LARGEST, LARGEST - 1])), (2**20, 2))
    rows = 17 * len(block)
    moments = moments_of([block] * 17, 2, GRID)
    assert moments.rows == rows > 2**24
    assert products(moments) == [rows * LARGEST**2, rows * LARGEST * (LARGEST - 1), rows * (LARGEST - 1) ** 2]


def test_the_largest_number_of_rows_does_not_overflow_and_one_more_is_an_error() -> None:
    row = moments_of([on_grid(np.array([[LARGEST]]))], 1, GRID)
    moments, rows = row, 1
    while rows < MAX_ROWS:
        moments, rows = moments + moments, 2 * rows
    assert (moments.rows, moments.sums.tolist()) == (MAX_ROWS, [MAX_ROWS * LARGEST])
    assert products(moments) == [MAX_ROWS * LARGEST**2]
    with pytest.raises(OverflowError, match="rows are more than"):
        moments + row


def test_the_grid_is_two_to_the_minus_21() -> None:
    features = np.array([[0.0, 1e-9, 0.123456789, 6.0, 7.9999995]], np.float32)
    gridded = GRID.snap(features)
    np.testing.assert_array_equal(gridded * 2.0**GRID_BITS, np.rint(gridded * 2.0**GRID_BITS))
    assert np.abs(gridded.astype(np.float64) - features).max() <= 2.0 ** -(GRID_BITS + 1)
    np.testing.assert_array_equal(GRID.snap(gridded), gridded)


@pytest.mark.parametrize("value", [-0.1, -1e-9, 8.0, 7.9999999, 1e30, np.inf, -np.inf, np.nan])
def test_features_out_of_range_are_an_error(value: float) -> None:
    features = np.array([[0.5, value]], np.float32)
    with pytest.raises(InputError, match="finite and in"):
        GRID.snap(features)


@pytest.mark.parametrize("value", [-0.5, 8.0, np.inf, np.nan])
def test_moments_check_the_range_too(value: float) -> None:
    with pytest.raises(InputError, match="finite and in"):
        moments_of([np.array([[value]], np.float32)], 1, GRID)


def test_features_off_the_grid_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"Grid\.snap"):
        moments_of([np.array([[0.1]], np.float32)], 1, GRID)


@pytest.mark.parametrize("rows", [0, 1])
def test_fewer_than_two_rows_cannot_be_standardized(rows: int) -> None:
    moments = moments_of([np.ones((rows, 3), np.float32)], 3, GRID)
    for function in (standardization, correlation):
        with pytest.raises(ValueError, match="at least 2 rows"):
            function(moments)
