"""The last shards of a stage, cut into pieces, so that all workers end together.

A shard is the unit of commit, not of computing: workers return the pieces of one, and the driver writes it when it has
them all. Only what would leave workers idle is cut, because a piece goes through the driver.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from engines.core.stages.featurize import ShardPiece, ShardTask, write_pieces
from engines.core.stages.shard_files import ShardReport

PIECE = 64
"""Photos of a piece, at most: half a second of a core."""

MOST_CUT = 16_384
"""Photos of shards that are cut, at most: 5 KB each, which the driver holds until their shard is complete."""


def cut_last(tasks: Sequence[ShardTask], workers: int) -> list[ShardTask]:
    """The tasks, large ones first, for this many workers: whole shards as long as they fit into a worker's equal share
    of the photos, then the pieces of the others.
    """
    share = sum(task.photos for task in tasks) / workers
    loads = [0] * workers
    whole: list[ShardTask] = []
    pieces: list[ShardTask] = []
    cut = 0
    for task in sorted(tasks, key=lambda task: -task.photos):
        fits = loads[0] + task.photos <= share + PIECE
        # Where CPUs may compute other bits, a file says which: that of one worker.
        if fits or task.photos <= PIECE or cut + task.photos > MOST_CUT or task.arithmetic != "exact":
            heapq.heapreplace(loads, loads[0] + task.photos)
            whole.append(task)
        else:
            cut += task.photos
            pieces += _pieces_of(task)
    return whole + pieces


def completed(
    tasks: Sequence[ShardTask], outcomes: Iterable[tuple[int, ShardReport | ShardPiece]]
) -> Iterator[tuple[ShardTask, ShardReport | None]]:
    """Each task as its outcome arrives, with the report of its shard if that is complete; then pieces are written."""
    arrived: dict[str, list[ShardPiece]] = {}
    for position, outcome in outcomes:
        task = tasks[position]
        if isinstance(outcome, ShardReport):
            yield task, outcome
            continue
        pieces = arrived.setdefault(task.shard.id, [])
        pieces.append(outcome)
        if sum(len(piece.digests) for piece in pieces) < task.shard.count:
            yield task, None
        else:
            yield task, write_pieces(task, arrived.pop(task.shard.id))


def _pieces_of(task: ShardTask) -> list[ShardTask]:
    count = task.shard.count
    number = -(-count // PIECE)
    borders = [count * position // number for position in range(number + 1)]
    return [replace(task, piece=piece) for piece in pairwise(borders)]
