"""The nearest rows are exact, and depend on the vectors alone: not on blocks, order of work, or the BLAS."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.neighbors import NearestNeighbors

from engines.core.neighbours import NearestSearch, Vote, nearest, vote
from engines.core.neighbours import search as search_module


@pytest.fixture(scope="module")
def rows() -> npt.NDArray[np.float32]:
    """Vectors as PCA gives them: variances that fall, and some rows that are there several times."""
    random = np.random.default_rng(3)
    values = (random.normal(size=(2000, 16)) * np.linspace(9, 0.2, 16)).astype(np.float32)
    values[1500:1520] = values[7]
    return values


def by_definition(
    queries: npt.NDArray[np.float32], rows: npt.NDArray[np.float32], k: int, own: npt.NDArray[np.int64] | None = None
) -> npt.NDArray[np.int64]:
    """All differences, squared and summed; equal distances in the order of the rows."""
    squares = ((queries.astype(np.float64)[:, None] - rows.astype(np.float64)) ** 2).sum(axis=2)
    if own is not None:
        squares[np.arange(len(queries)), own] = np.inf
    return np.argsort(squares, axis=1, kind="stable")[:, :k]


def test_rows_and_distances_are_those_of_the_definition(rows: npt.NDArray[np.float32]) -> None:
    queries = rows[::20] + np.float32(0.25)
    found = nearest(queries, rows, 7)
    np.testing.assert_array_equal(found.rows, by_definition(queries, rows, 7))
    differences = queries[:, None].astype(np.float64) - rows[found.rows]
    np.testing.assert_allclose(found.distances, np.sqrt((differences**2).sum(axis=2)), rtol=1e-14)


def test_scikit_learn_finds_the_same(rows: npt.NDArray[np.float32]) -> None:
    queries = rows[:1500:9] * np.float32(1.01)
    oracle, _ = NearestNeighbors(n_neighbors=5, algorithm="brute").fit(rows.astype(np.float64)).kneighbors(queries)
    np.testing.assert_allclose(nearest(queries, rows, 5).distances, oracle, rtol=1e-6, atol=1e-6)


def test_a_row_is_not_its_own_neighbour_but_its_copies_are(rows: npt.NDArray[np.float32]) -> None:
    own = np.arange(0, 2000, 3)
    found = nearest(rows[own], rows, 4, own)
    np.testing.assert_array_equal(found.rows, by_definition(rows[own], rows, 4, own))
    assert not (found.rows == own[:, None]).any()
    copies = nearest(rows[7:8], rows, 20, np.array([7]))
    assert copies.rows[0].tolist() == list(range(1500, 1520))
    assert (copies.distances == 0).all()


@pytest.mark.parametrize(
    ("queries_per_block", "rows_per_block", "added"), [(7, 13, 501), (1000, 64, 2000), (3, 999, 1)]
)
def test_blocks_change_no_bit(
    rows: npt.NDArray[np.float32],
    monkeypatch: pytest.MonkeyPatch,
    queries_per_block: int,
    rows_per_block: int,
    added: int,
) -> None:
    queries = rows[::50]
    whole = nearest(queries, rows, 6)
    monkeypatch.setattr(search_module, "_QUERIES_PER_BLOCK", queries_per_block)
    monkeypatch.setattr(search_module, "_ROWS_PER_BLOCK", rows_per_block)
    monkeypatch.setattr(search_module, "_PAIRS_PER_BLOCK", 11)
    search = NearestSearch(queries, 6)
    for start in range(0, len(rows), added):
        search.add(rows[start : start + added])
    pieces = search.result()
    assert pieces.rows.tobytes() == whole.rows.tobytes()
    assert pieces.distances.tobytes() == whole.distances.tobytes()


def test_fewer_rows_than_asked_for_are_all_found(rows: npt.NDArray[np.float32]) -> None:
    assert nearest(rows[:2], rows[:3], 5).rows.shape == (2, 3)
    assert nearest(rows[:2], rows[:3], 5, np.array([0, 1])).rows.shape == (2, 2)
    assert nearest(rows[:2], rows[:0], 5).rows.shape == (2, 0)


def test_equal_rows_are_found_in_their_order() -> None:
    """Every row is a candidate then."""
    rows = np.ones((3000, 128), np.float32)
    found = nearest(rows[:600], rows, 3)
    assert found.rows.tolist() == [[0, 1, 2]] * 600


def test_a_large_offset_does_not_hide_small_distances() -> None:
    """Squares of 1e12 leave a product no digit of distances below 1e-2: the differences decide."""
    random = np.random.default_rng(1)
    rows = (np.float32(2**20) + random.integers(0, 8, (500, 8)) / 8).astype(np.float32)
    np.testing.assert_array_equal(nearest(rows[:50], rows, 5).rows, by_definition(rows[:50], rows, 5))


def test_lengths_whose_squares_float32_cannot_hold_are_compared_all_the_same() -> None:
    random = np.random.default_rng(2)
    for size in (1e-25, 1e25):
        rows = (random.normal(size=(300, 8)) * size).astype(np.float32)
        np.testing.assert_array_equal(nearest(rows[:50], rows, 5).rows, by_definition(rows[:50], rows, 5))


def test_what_float32_cannot_tell_apart_float64_does() -> None:
    """Rows at distances from the first that differ by less than the rounding of a product in float32."""
    rows = np.ones((200, 64), np.float32)
    rows[1:, 0] += np.random.default_rng(5).permutation(np.arange(1, 200)).astype(np.float32) * np.float32(2**-20)
    np.testing.assert_array_equal(nearest(rows[:50], rows, 5).rows, by_definition(rows[:50], rows, 5))


def test_the_plurality_of_the_labels_wins_and_the_nearest_of_equals() -> None:
    assert vote(["Plum", "Apple", "Apple"]) == Vote("Apple", 2 / 3)
    assert vote(["Plum", "Apple", "Apple", "Plum"]) == Vote("Plum", 0.5)


def test_photos_without_a_label_have_no_vote() -> None:
    assert vote(["", "", "Plum"]) == Vote("Plum", 1 / 3)
    assert vote(["", ""]) is None
    assert vote([]) is None
