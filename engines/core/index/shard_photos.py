"""The photos of a shard by its id, as errors and file names have it, and what became of each."""

from __future__ import annotations

from dataclasses import dataclass

from engines.core.errors import InputError
from engines.core.index.catalog import Shard, read_manifest, read_shard_entries
from engines.core.layout import CATALOGS, FEATURES, REJECTS
from engines.core.proof.reading import read_table
from engines.core.sources import Entry
from engines.core.storage import open_storage

FEATURIZED = "featurized"


@dataclass(frozen=True, slots=True)
class ShardPhotos:
    """A shard and its photos in order. `became`: FEATURIZED or why it was rejected, by path; empty before it is."""

    shard: Shard
    photos: list[Entry]
    became: dict[str, str]


def shard_photos(output: str, wanted: str) -> ShardPhotos:
    """The shard of `output` whose id begins with `wanted`, from any of its catalogs.

    Where features of several models are there, what became of a photo is that of one of them. Raises InputError when no
    shard, or more than one, has such an id.
    """
    shards: dict[str, Shard] = {}
    storage = open_storage(output)
    for item in storage.list(CATALOGS):
        if item.key.endswith(".json"):
            catalog = read_manifest(output, item.key)
            shards |= {shard.id: shard for shard in catalog.shards if wanted and shard.id.startswith(wanted)}
    if len(shards) != 1:
        found = f"{len(shards)} shards of {output} have ids that begin with" if shards else f"{output} has no shard"
        raise InputError(f"{found} {wanted!r}", "Give the id that an error or the name of a features file has.")
    (shard,) = shards.values()
    photos = read_shard_entries(output, shard)
    return ShardPhotos(shard, photos, _became(output, shard, photos))


def _became(output: str, shard: Shard, photos: list[Entry]) -> dict[str, str]:
    storage = open_storage(output)
    features = [item.key for item in storage.list(FEATURES) if item.key.endswith(f"-{shard.id}.parquet")]
    if not features:
        return {}
    became = dict.fromkeys((photo.path for photo in photos), FEATURIZED)
    rejects = features[0].replace(FEATURES, REJECTS, 1)
    if storage.exists(rejects):
        rows = read_table(storage, rejects).to_pylist()
        became |= {row["path"]: f"{row['reason']}: {row['detail']}" for row in rows}
    return became
