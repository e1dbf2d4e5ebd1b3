"""The last shards are cut so that all workers end together; what is written is as if nothing had been cut."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import engines.last_shards as last_shards
from engines.core.index.catalog import Shard
from engines.core.networks.model import Model
from engines.core.stages.featurize import ShardTask
from engines.last_shards import MOST_CUT, PIECE, cut_last
from tests.parity.chain import SequentialEngine, bytes_of, run_chain

sizes = st.lists(st.integers(1, 2000), min_size=1, max_size=60)


def tasks_of(counts: list[int], arithmetic: str = "exact") -> list[ShardTask]:
    return [
        ShardTask("source", "output", "fingerprint", Shard(f"{number:04d}", "part", 0, count), arithmetic)
        for number, count in enumerate(counts)
    ]


def longest(tasks: list[ShardTask], workers: int) -> int:
    """Photos of the worker that ends last, when each takes the next task as soon as it is free."""
    loads = [0] * workers
    for task in tasks:
        lightest = min(range(workers), key=loads.__getitem__)
        loads[lightest] += task.photos
    return max(loads)


@given(sizes, st.integers(1, 40))
def test_every_photo_is_in_one_task(counts: list[int], workers: int) -> None:
    found: dict[str, list[int]] = {}
    for task in cut_last(tasks_of(counts), workers):
        first, end = task.piece or (0, task.shard.count)
        found.setdefault(task.shard.id, []).extend(range(first, end))
    assert {id: sorted(photos) for id, photos in found.items()} == {
        f"{number:04d}": list(range(count)) for number, count in enumerate(counts)
    }


@given(sizes, st.integers(1, 40))
def test_no_worker_has_more_than_its_share_and_two_pieces(counts: list[int], workers: int) -> None:
    tasks = cut_last(tasks_of(counts), workers)
    cut = sum(task.photos for task in tasks if task.piece)
    if cut + max(counts) <= MOST_CUT:
        assert longest(tasks, workers) <= sum(counts) / workers + 2 * PIECE


@given(sizes, st.integers(1, 40))
def test_the_driver_holds_no_more_than_so_many(counts: list[int], workers: int) -> None:
    assert sum(task.photos for task in cut_last(tasks_of(counts), workers) if task.piece) <= MOST_CUT


def test_what_fits_is_not_cut() -> None:
    assert all(task.piece is None for task in cut_last(tasks_of([512] * 8), 4))
    assert all(task.piece is None for task in cut_last(tasks_of([500, 700, 300]), 1))


def test_where_cpus_may_differ_a_shard_is_of_one_worker() -> None:
    assert all(task.piece is None for task in cut_last(tasks_of([660], "tolerant"), 2))


class Several(SequentialEngine):
    """As if there were several workers, which end in any order."""

    parallelism = 3  # type: ignore[assignment]

    def map(self, function: Any, items: Any, value: Any, after_death: Any = None) -> Any:
        self.pieces = sum(getattr(item, "piece", None) is not None for item in items) or getattr(self, "pieces", 0)
        order = list(range(len(items)))
        random.Random(7).shuffle(order)
        return ((position, function(items[position], value)) for position in order)


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_shards, "PIECE", 3)


@pytest.mark.usefixtures("small_pieces")
def test_the_bytes_are_those_of_whole_shards(photos: Path, tmp_path: Path, model: Model) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number, photo in enumerate(sorted(photos.glob("*/*.jpg"))[:22]):
        os.link(photo, source / f"{number}.jpg")
    (source / "5.jpg").unlink()
    (source / "5.jpg").write_bytes(b"no photo")
    (source / "21.jpg").unlink()
    (source / "21.jpg").write_bytes(b"")
    engine = Several()
    cut = run_chain(engine, source, tmp_path / "cut", model, components=4, shard_size=512)
    whole = run_chain(SequentialEngine(), source, tmp_path / "whole", model, components=4, shard_size=512)
    assert engine.pieces > 5
    assert cut.featurized.rejected == {"empty": 1, "not_an_image": 1}
    assert cut.featurized == replace(whole.featurized, peak_memory=cut.featurized.peak_memory)
    assert bytes_of(cut.output) == bytes_of(whole.output)
