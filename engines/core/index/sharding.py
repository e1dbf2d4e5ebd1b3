"""Cutting a stream of images into shards whose borders depend on the images around them alone.

Content-defined chunking with local maxima, after Bjorner et al., "Content-dependent chunking for differential
compression, the local maximum approach", J. Comput. Syst. Sci. 76, 2010.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def cut_into_shards(items: Iterable[Item], shard_size: int, name: Callable[[Item], str]) -> Iterator[list[Item]]:
    """Cut `items` into lists of about `shard_size` on average, at least half (rounded down) and at most twice that.

    A cut comes behind each item whose name hashes to the largest value among its neighbours, half a shard to either
    side. What is longer than two shards then, which is seldom, is cut behind its largest hash again. Fewer items than
    half a shard are one shard. Memory: some shards.
    """
    for run in _runs(items, shard_size // 2, name):
        for part in _split(run, shard_size):
            yield [item for _, item in part]


def name_hash(name: str) -> int:
    """64 bits that look random and depend on the name alone."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")


def _runs(items: Iterable[Item], window: int, name: Callable[[Item], str]) -> Iterator[list[tuple[int, Item]]]:
    """Runs of (hash, item) that end with the largest hash among `window` items before and `window` behind it.

    The first and the last `window` items of all end no run, so that no run is shorter than half a shard.
    """
    run: list[tuple[int, Item]] = []
    falling: deque[tuple[int, int]] = deque()  # (position, hash) of what may still be the largest of a window
    start = 0
    for position, item in enumerate(items):
        value = name_hash(name(item))
        run.append((value, item))
        while falling and falling[-1][1] < value:
            falling.pop()
        falling.append((position, value))
        centre = position - window
        if falling[0][0] < centre - window:
            falling.popleft()
        if centre >= window and falling[0][0] == centre:
            length = centre + 1 - start
            yield run[:length]
            run, start = run[length:], centre + 1
    if run:
        yield run


def _split(run: list[tuple[int, Item]], shard_size: int) -> Iterator[list[tuple[int, Item]]]:
    if len(run) <= 2 * shard_size:
        yield run
        return
    half = (shard_size + 1) // 2
    length = 1 + max(range(half - 1, len(run) - half), key=lambda position: run[position][0])
    yield from _split(run[:length], shard_size)
    yield from _split(run[length:], shard_size)
