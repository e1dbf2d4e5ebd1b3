"""The driver's half of a check: bands of the distance matrix, and the moments of the parts of photos, over `map`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from engines.base import NeighboursReport, NeighboursRequest, Progress
from engines.core.errors import InputError
from engines.core.layout import check_folder, moments_key
from engines.core.quality.plan import Plan, make_plan
from engines.core.reduce.kept import read_pca, write_moments
from engines.core.reduce.moments import Moments
from engines.core.stages.neighbours import MomentsOfParts, Published, find_nearest, sum_parts
from engines.core.storage import open_storage

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

MAX_MOMENT_GROUPS = 32
"""Moments of 13 MB each pass through the driver, so their number is bounded: 416 MB, however many shards there are."""


class Workers(Protocol):
    """The primitives of a MapEngine."""

    on_progress: Callable[[Progress], None]

    @property
    def parallelism(self) -> int:
        """See MapEngine."""
        ...

    def map(
        self, function: Callable[[Item, Any], Outcome], items: Sequence[Item], value: Any
    ) -> Iterator[tuple[int, Outcome]]:
        """See MapEngine."""
        ...

    def broadcast(self, value: Any) -> Any:
        """See MapEngine."""
        ...


def find_neighbours(workers: Workers, request: NeighboursRequest) -> NeighboursReport:
    """See Engine.neighbours: what is there already is not done again."""
    plan = make_plan(request.output, request.split_depth)
    if plan.version != request.check:
        raise InputError(f"the results of {request.output} were published anew meanwhile", "Run `fruits check` again.")
    storage = open_storage(request.output)
    folder = check_folder(plan.version)
    present = {item.key for item in storage.list(folder)}
    missing = [band for band in plan.bands if band.key not in present]
    total = sum(band.rows for band in plan.bands)
    reused = done = total - sum(band.rows for band in missing)
    workers.on_progress(Progress("neighbours", done, total))
    sums = plan.training is not None and moments_key(folder) not in present
    if missing or sums:
        pca = read_pca(plan.output, plan.record.pca)
        fingerprint = plan.record.model.fingerprint
        published = workers.broadcast(Published(plan.output, fingerprint, plan.parts, plan.rule, pca))
        # All features are the widest space, and come first.
        for _, rows in workers.map(find_nearest, sorted(missing, key=lambda band: band.space.components), published):
            done += rows
            workers.on_progress(Progress("neighbours", done, total))
        if sums:
            write_moments(plan.output, moments_key(folder), _moments_of_parts(workers, plan, published))
    return NeighboursReport(plan.version, total, reused)


def _moments_of_parts(workers: Workers, plan: Plan, published: Any) -> dict[str, Moments]:
    number = min(len(plan.parts), workers.parallelism, MAX_MOMENT_GROUPS)
    groups = [MomentsOfParts(list(range(start, len(plan.parts), number))) for start in range(number)]
    sums: dict[str, Moments] = {}
    for _, some in workers.map(sum_parts, groups, published):
        for split, moments in some.items():
            sums[split] = sums[split] + moments if split in sums else moments
    return sums
