"""What no published record refers to: found, shown by whoever asked, and removed.

Only files that runs write are known here: whatever else lies in an output is left alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from engines.core.errors import DamagedError, InputError
from engines.core.index.catalog import read_manifest
from engines.core.layout import (
    CHECKS,
    FORMER,
    canary_key,
    features_key,
    network_key,
    pca_key,
    quality_key,
    recipe_key,
    rejects_key,
    spectrum_key,
)
from engines.core.output import RunRecord, former_records, read_record
from engines.core.proof.reading import read_json
from engines.core.storage import Storage, StoredObject, open_storage
from engines.published.verify import untold

_HEX = "[0-9a-f]"
KINDS = {
    "unfinished files": rf"(?:.*/)?\.unfinished-{_HEX}{{32}}|\.write-check",
    "results": r"results/[\w-]+/part-\d+-\w+\.parquet",
    "PCA": r"pca/\w+/(?:model\.npz|spectrum\.parquet)",
    "features": r"features/\w+-\w+\.parquet",
    "rejects": r"rejects/\w+-\w+\.parquet",
    "catalogs": r"catalog/(?:\w+\.json|part-\w+\.parquet)",
    "models": r"models/\w+/(?:network\.bin|recipe\.json|canary\.json)",
    "checks": r"checks/\w+/[\w.-]+\.(?:json|npz|parquet)",
    "records of former runs": rf"{FORMER}/[\w.-]+\.json",
    "jobs that have ended": r"jobs/.+",
}
"""The kinds of files that are removed, and the keys they have."""


@dataclass(frozen=True, slots=True)
class Cleaning:
    """What would be removed, by kind: the objects, in the order in which it is safe to remove them."""

    kinds: dict[str, list[StoredObject]]
    kept: int
    """Former results that are kept."""

    @property
    def files(self) -> int:
        """How many files that are."""
        return sum(len(items) for items in self.kinds.values())

    @property
    def size(self) -> int:
        """The room they take, in bytes."""
        return sum(item.size for items in self.kinds.values() for item in items)


def plan_cleaning(output: str, keep: int = 0) -> Cleaning:
    """What no record refers to: neither the published one, nor those of the `keep` newest former results.

    To be called, and carried out, with the lease on the output. Raises InputError when nothing is published, or what a
    record refers to cannot be known because it is damaged.
    """
    storage = open_storage(output)
    former = former_records(output)[:keep]
    kept = {key for key, _ in former}
    for record in (read_record(output), *(record for _, record in former)):
        kept |= set(_referred(storage, record))
    kinds: dict[str, list[StoredObject]] = {}
    for item in storage.list():
        kind = next((name for name, pattern in KINDS.items() if re.fullmatch(pattern, item.key)), None)
        if kind is not None and item.key not in kept:
            kinds.setdefault(kind, []).append(item)
    return Cleaning({kind: kinds[kind] for kind in KINDS if kind in kinds}, len(former))


def remove(output: str, cleaning: Cleaning, on_progress: Callable[[int, int], None] = untold) -> None:
    """Remove what `plan_cleaning` found; `on_progress(done, total)`. Stopped half-way, it can be done again."""
    storage = open_storage(output)
    # The record of a former run goes first: what is referred to is there, whenever this stops.
    order = sorted(cleaning.kinds, key=lambda kind: kind != "records of former runs")
    items = [item for kind in order for item in cleaning.kinds[kind]]
    for done, item in enumerate(items):
        on_progress(done, len(items))
        storage.delete(item.key)
    on_progress(len(items), len(items))


def _referred(storage: Storage, record: RunRecord) -> Iterator[str]:
    """The keys that a record needs."""
    fingerprint = record.model.fingerprint
    try:
        catalog = read_manifest(storage.url, record.catalog)
    except DamagedError as error:
        raise InputError(error.message, "What it refers to is not known: run `fruits run` again first.") from error
    yield record.catalog
    yield from (shard.part for shard in catalog.shards)
    for shard in catalog.shards:
        yield features_key(fingerprint, shard.id)
        yield rejects_key(fingerprint, shard.id)
    yield from (network_key(fingerprint), recipe_key(fingerprint), canary_key(fingerprint))
    for folder in (record.pca, *([record.frozen_pca.pca] if record.frozen_pca else ())):
        yield from (pca_key(folder), spectrum_key(folder))
    yield from (part.key for part in record.parts)
    yield from _checks_of(storage, record)


def _checks_of(storage: Storage, record: RunRecord) -> Iterator[str]:
    """The files of the checks of these results."""
    folders = Counter(item.key.rpartition("/")[0] for item in storage.list(CHECKS))
    for folder in folders:
        try:
            checked = read_json(storage, quality_key(folder)).get("results")
        except DamagedError:
            continue  # a check that has not ended, or can be made again
        if checked == record.results:
            yield from (item.key for item in storage.list(folder))
