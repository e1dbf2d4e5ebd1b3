"""What of former runs is there and can be used again: the driver's look at an output before a stage, for every engine.

Nothing is taken on trust: a file is held to its seal, its counts and its shard. What does not hold is made again, and
said in the stage's report.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from engines.base import FeaturizeReport, FeaturizeRequest
from engines.core.errors import DamagedError, InputError
from engines.core.index.catalog import Shard
from engines.core.layout import FEATURES, features_key
from engines.core.output import Part, read_record
from engines.core.stages.limits import PhotoLimits
from engines.core.stages.project import read_part
from engines.core.stages.shard_files import ShardReport, prove_shard, read_report
from engines.core.storage import open_storage

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

_DRIVER_READS = 16
"""Small reads the driver has under way at once."""


@dataclass(slots=True)
class Shards:
    """The shards of a catalog: `reports` of those that are there, and those that are `missing`.

    `again`: which of these have files that are to be replaced. `damage`: in words, what was found damaged.
    """

    reports: list[ShardReport] = field(default_factory=list)
    missing: list[Shard] = field(default_factory=list)
    again: set[str] = field(default_factory=set)
    damage: list[str] = field(default_factory=list)

    def redo(self, shard: Shard) -> None:
        """Have a shard computed that has files already."""
        self.missing.append(shard)
        self.again.add(shard.id)


def reusable_shards(request: FeaturizeRequest, shards: list[Shard]) -> Shards:
    """Which shards need not be computed. Reads the end of each features file, and the rejects."""
    present = {item.key for item in open_storage(request.output).list(FEATURES)}
    limits = PhotoLimits(request.photo_seconds, request.photo_memory)
    found = Shards()

    def look(shard: Shard) -> ShardReport | DamagedError | None:
        if features_key(request.fingerprint, shard.id) not in present:
            return None
        try:
            return read_report(request.output, request.fingerprint, shard)
        except DamagedError as error:
            return error

    for shard, report in zip(shards, on_driver(look, shards), strict=True):
        if report is None:
            found.missing.append(shard)
        elif isinstance(report, DamagedError):
            found.damage.append(report.message)
            found.redo(shard)
        elif report.passing or report.outgrown(limits) or shard.id in request.redo:
            found.redo(shard)
        else:
            found.reports.append(report)
    return found


def check_arithmetic_of(request: FeaturizeRequest, reports: list[ShardReport]) -> None:
    """Raise InputError when features of another arithmetic are there, and were not asked for."""
    deviating = [report for report in reports if report.deviating_canary]
    if deviating and request.arithmetic != "tolerant":
        images = sum(report.featurized for report in deviating)
        raise InputError(
            f"the features of {images:,} images were computed with --arithmetic tolerant on CPUs of other bits",
            f"Go on with --arithmetic tolerant, or remove their files to have them computed again, such as"
            f" {open_storage(request.output).uri(features_key(request.fingerprint, deviating[0].shard))}.",
        )


def featurize_report(shards: list[Shard], there: Shards, computed: list[ShardReport], canary: str) -> FeaturizeReport:
    """What became of all `shards`: those that were there, and those that were computed."""
    reports = there.reports + computed
    rejected: dict[str, int] = {}
    for report in reports:
        for reason, count in report.rejected.items():
            rejected[reason] = rejected.get(reason, 0) + count
    # Features of another arithmetic are others, though their photos are the same.
    content = {report.shard: f"{report.content}{report.deviating_canary}" for report in reports}
    return FeaturizeReport(
        listed=sum(report.listed for report in reports),
        featurized=sum(report.featurized for report in reports),
        reused=sum(report.featurized for report in there.reports),
        computed=sum(report.listed for report in computed),
        rejected=dict(sorted(rejected.items())),
        peak_memory=max((report.peak_memory for report in reports), default=0),
        canary=canary,
        deviating=sum(report.featurized for report in reports if report.deviating_canary),
        content=short_digest([content.get(shard.id, "") for shard in shards]) if any(content.values()) else "",
        damage=there.damage,
        unsealed=sum(not report.sealed for report in there.reports),
    )


def short_digest(facts: Any) -> str:
    """The name of something that was made of these JSON-able facts."""
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def prove_features(output: str, fingerprint: str, shards: list[Shard]) -> None:
    """Raise DamagedError for all features files that are not what was written, where nothing else would read them.

    5 kB an image: less than it took to list it.
    """

    def look(shard: Shard) -> DamagedError | None:
        try:
            prove_shard(output, fingerprint, shard.id)
        except DamagedError as error:
            return error
        return None

    raise_damage([error for error in on_driver(look, shards) if error is not None])


def reusable_parts(output: str, folder: str, keys: list[str]) -> tuple[dict[str, Part], list[str]]:
    """The parts of results that need not be projected again, by their keys, and in words what is damaged.

    Raises InputError for a file among the results that no run put there: readers of the folder would read it too.
    """
    storage = open_storage(output)
    present = {item.key for item in storage.list(folder)}
    foreign = sorted(key for key in present - set(keys) if not key.rpartition("/")[2].startswith((".", "_")))
    if foreign:
        raise InputError(
            f"{storage.uri(foreign[0])} is foreign: it is no part of these results, and their readers would read it",
            "Remove it, then run again.",
        )
    published = _published_digests(output)

    def look(key: str) -> Part | DamagedError:
        try:
            return read_part(output, key, published.get(key, ""))
        except DamagedError as error:
            return error

    found = on_driver(look, [key for key in keys if key in present])
    parts = {part.key: part for part in found if isinstance(part, Part)}
    return parts, [error.message for error in found if isinstance(error, DamagedError)]


def _published_digests(output: str) -> dict[str, str]:
    try:
        return {part.key: part.sha256 for part in read_record(output).parts}
    except InputError:
        return {}  # nothing is published, or it is damaged, which is said where it is replaced


def raise_damage(found: list[DamagedError]) -> None:
    """Raise one DamagedError for all that workers found, if they found any."""
    if not found:
        return
    first = found[0]
    more = f" (and {len(found) - 1:,} more files)" if len(found) > 1 else ""
    shards = tuple(dict.fromkeys(shard for error in found for shard in error.shards))
    raise DamagedError(f"{first.message}{more}", first.hint, first.finding, shards)


def on_driver(function: Callable[[Item], Outcome], items: Iterable[Item]) -> list[Outcome]:
    """What the function returns for each item, some at once, in order."""
    with ThreadPoolExecutor(_DRIVER_READS, thread_name_prefix="driver-read") as pool:
        return list(pool.map(function, items))
