"""Shards are cut by content: of the right size, and hardly touched by a new photo."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.core.index.sharding import cut_into_shards

NAMES = st.lists(st.text("abc/", min_size=1, max_size=6), unique=True, max_size=200)


def shards(names: list[str], size: int) -> list[tuple[str, ...]]:
    return [tuple(shard) for shard in cut_into_shards(names, size, str)]


def photos(number: int, seed: int = 0) -> list[str]:
    random = np.random.default_rng(seed)
    return sorted(f"Class {kind}/{view}.jpg" for kind, view in random.integers(0, 100_000, (number, 2)))


@given(NAMES, st.integers(1, 40))
def test_nothing_is_lost_and_no_shard_is_too_small_or_too_large(names: list[str], size: int) -> None:
    cut = shards(names, size)
    assert list(itertools.chain(*cut)) == names
    assert all(len(shard) <= 2 * size for shard in cut)
    if len(names) >= size // 2:
        assert all(len(shard) >= size // 2 for shard in cut)
    else:
        assert len(cut) == min(1, len(names))


@pytest.mark.parametrize("size", [2, 16, 512])
def test_shards_have_the_wanted_size_on_average(size: int) -> None:
    names = photos(40_000)
    assert len(names) / len(shards(names, size)) == pytest.approx(size, rel=0.35)


def test_a_shard_size_of_one_is_a_shard_per_photo() -> None:
    assert {len(shard) for shard in shards(photos(100), 1)} == {1}


def test_adding_a_photo_changes_its_shard_and_at_times_one_beside_it() -> None:
    changed: Counter[int] = Counter()
    for seed in range(1000):
        names = photos(400, seed)
        added = sorted([*names, f"Class {seed * 97 % 100_000}/new.jpg"])
        former = shards(names, 16)
        new = [shard for shard in shards(added, 16) if shard not in former]
        changed[len(new)] += 1
    assert set(changed) <= {1, 2, 3}
    assert changed[1] > 800
    assert changed[3] <= 10, "a third shard changes only when a long run of photos has to be cut in another place"


def test_removing_a_photo_changes_few_shards() -> None:
    names = photos(400)
    former = shards(names, 16)
    for gone in range(0, 400, 7):
        new = [shard for shard in shards(names[:gone] + names[gone + 1 :], 16) if shard not in former]
        assert 1 <= len(new) <= 3


def test_appending_a_class_changes_the_last_shards_only() -> None:
    names = photos(400)
    former = shards(names, 16)
    later = shards([*names, *(f"Later/{view}.jpg" for view in range(100))], 16)
    assert later[: len(former) - 2] == former[:-2]
