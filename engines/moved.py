"""Features of photos that were moved: found in the catalogs of another source by keys and sizes, proven by bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

from engines.base import FeaturizeRequest, Progress
from engines.core.errors import DamagedError
from engines.core.index.catalog import Catalog, Shard, read_catalog, read_manifest, read_shard_entries
from engines.core.layout import CATALOGS, FEATURES, features_key
from engines.core.sources import open_source
from engines.core.stages.limits import PhotoLimits
from engines.core.stages.moved import MovedTask, take_over
from engines.core.storage import open_storage
from engines.nearest_rows import Workers
from engines.reuse import Shards


def take_over_moved(workers: Workers, request: FeaturizeRequest, there: Shards) -> None:
    """Move the shards whose features can be taken over from another source of this output to those that are there.

    Shards are cut by the keys of photos alone, so a copy of the source in another place has the same ones.
    """
    catalog = read_catalog(request.output, request.catalog)
    missing = {shard.id: shard for shard in there.missing if shard.id not in there.again}
    wanted = {of: shard for of, shard in _by_photos(request.output, catalog) if shard.id in missing}
    limits = PhotoLimits(request.photo_seconds, request.photo_memory)
    tasks = [
        MovedTask(
            request.source,
            request.output,
            request.fingerprint,
            wanted[of],
            former,
            limits,
            request.arithmetic == "tolerant",
        )
        for of, former in _former(request, catalog).items()
        if of in wanted
    ]
    done, total = 0, sum(task.shard.count for task in tasks)
    for position, report in workers.map(take_over, tasks, workers.broadcast(None)) if tasks else ():
        done += tasks[position].shard.count
        workers.on_progress(Progress("take over", done, total))
        if report is not None:
            there.reports.append(report)
            there.missing.remove(missing[report.shard])


def _former(request: FeaturizeRequest, catalog: Catalog) -> dict[str, Shard]:
    """Shards of other sources that have features of this model, by their photos."""
    storage = open_storage(request.output)
    present = {item.key for item in storage.list(FEATURES)}
    found: dict[str, Shard] = {}
    for item in list(storage.list(CATALOGS)):
        if not item.key.endswith(".json"):
            continue
        try:
            former = read_manifest(request.output, item.key)
            if former.source != catalog.source:
                shards = dict(_by_photos(request.output, former))
                found |= {
                    of: shard for of, shard in shards.items() if features_key(request.fingerprint, shard.id) in present
                }
        except DamagedError:
            continue  # what is only there to save time, and is not what it was, saves none
    return found


def _by_photos(output: str, catalog: Catalog) -> Iterator[tuple[str, Shard]]:
    """The shards of a catalog by a digest of the keys and sizes of their photos."""
    source = open_source(catalog.source)
    for shard in catalog.shards:
        photos = [[source.key(entry.path), entry.size] for entry in read_shard_entries(output, shard)]
        yield hashlib.sha256(json.dumps(photos).encode()).hexdigest(), shard
