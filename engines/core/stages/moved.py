"""Features of photos that were moved are taken over from where they were computed: the workers' half of that."""

from __future__ import annotations

from dataclasses import dataclass

from engines.core import tables
from engines.core.errors import DamagedError
from engines.core.index.catalog import Shard, read_shard_entries
from engines.core.layout import rejects_key
from engines.core.proof.reading import read_table
from engines.core.sources import open_source
from engines.core.stages.featurize import read_photos_digest
from engines.core.stages.limits import PhotoLimits
from engines.core.stages.shard_files import (
    ShardReport,
    own_label,
    read_features,
    read_report,
    write_shard,
)
from engines.core.storage import open_storage


@dataclass(frozen=True, slots=True)
class MovedTask:
    """A shard without features, and one of the former source with photos of the same keys and sizes, in order."""

    source: str
    output: str
    fingerprint: str
    shard: Shard
    former: Shard
    limits: PhotoLimits
    tolerant: bool


def take_over(task: MovedTask, _: None) -> ShardReport | None:
    """Write the files of the shard from those of the former one; None if it has to be computed.

    Reads all photos: they have to be, byte for byte, those that the features were made of. The rows of the features
    and of the rejects are those of before, under the paths and labels of now.
    """
    try:
        former = read_report(task.output, task.fingerprint, task.former)
        features = read_features(task.output, task.fingerprint, task.former.id)
    except DamagedError:
        return None  # it is not there, or not what it was: what is computed needs none of it
    if former.passing or former.outgrown(task.limits) or (former.deviating_canary and not task.tolerant):
        return None
    entries = read_shard_entries(task.output, task.shard)
    if not former.photos or read_photos_digest(open_source(task.source), entries) != former.photos:
        return None
    places = {
        before.path: entry for before, entry in zip(read_shard_entries(task.output, task.former), entries, strict=True)
    }
    rejects = []
    if former.rejected:
        rows = read_table(open_storage(task.output), rejects_key(task.fingerprint, task.former.id)).to_pylist()
        rejects = [(places[row["path"]], row["reason"], row["detail"]) for row in rows]
    return write_shard(
        task.output,
        task.fingerprint,
        task.shard,
        kept=[places[path] for path in features["path"].to_pylist()],
        features=tables.to_matrix(features["features"]),
        rejects=[(entry.path, own_label(entry), reason, detail) for entry, reason, detail in rejects],
        photos=former.photos,
        limits=former.limits,
        deviating_canary=former.deviating_canary,
    )
