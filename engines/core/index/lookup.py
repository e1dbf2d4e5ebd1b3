"""The photos of a catalog by their paths, as results have them."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from engines.core.index.catalog import Catalog, entries_of, read_shard_rows
from engines.core.sources import Entry


def find_entries(output: str, catalog: Catalog, paths: Iterable[str]) -> dict[str, Entry]:
    """The entries of these paths, by path; those that are not in the catalog are not. Memory: these, and one part.

    Raises DamagedError when the catalog does not hold what its manifest says.
    """
    wanted = pa.array(sorted(set(paths)), pa.string())
    found: dict[str, Entry] = {}
    for shard in catalog.shards:
        rows = read_shard_rows(output, shard)
        found |= {entry.path: entry for entry in entries_of(rows.filter(pc.is_in(rows["path"], value_set=wanted)))}
    return found
