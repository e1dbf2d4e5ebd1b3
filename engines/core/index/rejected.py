"""The first photos of a catalog that were rejected, with their reasons."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from engines.core.index.catalog import Shard
from engines.core.layout import REJECTS, rejects_key
from engines.core.proof.reading import read_table
from engines.core.storage import open_storage, read_ahead

_FILES_AHEAD = 8
_FILES = 64
"""Files of rejects that are read at most: what they say of some photos is enough for a person."""


def first_rejects(output: str, fingerprint: str, shards: Sequence[Shard], most: int) -> list[dict[str, str]]:
    """Up to `most` rows of tables.REJECTS, in the order of the photos. Raises as reading does."""
    storage = open_storage(output)
    present = {item.key for item in storage.list(REJECTS)}
    keys = [key for shard in shards if (key := rejects_key(fingerprint, shard.id)) in present]
    rows: list[dict[str, str]] = []
    for table in read_ahead(lambda key: read_table(storage, key), keys[:_FILES], _FILES_AHEAD):
        if isinstance(table, Exception):
            raise table
        rows += table.to_pylist()
        if len(rows) >= most:
            break
    return rows[:most]


def examples_by_reason(rows: Sequence[dict[str, str]], most: int) -> dict[str, list[str]]:
    """The paths of the first photos of each reason, `most` at most of each."""
    reasons = dict.fromkeys(row["reason"] for row in rows)
    return {reason: list(islice((row["path"] for row in rows if row["reason"] == reason), most)) for reason in reasons}
