"""The catalog: every image of a source, in order, cut into shards.

A shard is the unit of work, of retry and of commit. Its borders depend on the images around them alone (see
`engines.core.index.sharding`): an image that is added changes the shard it falls in, at times the one beside it, and
less than once in a hundred times a third; all others keep their name and files.

The catalog is written while the source is listed, in parts of some thousand images, so that neither listing nor reading
needs it whole in memory. Its manifest is written last and is its commit.
"""

from __future__ import annotations

import fnmatch
import functools
import hashlib
import heapq
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from engines.core import tables
from engines.core.errors import ContractError, InputError
from engines.core.index.sharding import cut_into_shards, name_hash
from engines.core.output import CATALOGS, catalog_key, catalog_part_key
from engines.core.sources import Entry, Source, open_source
from engines.core.storage import open_storage

SHARDS_PER_PART = 16

DEFAULT_GLOB = "*.jpg"


@dataclass(frozen=True, slots=True)
class Shard:
    """A fixed list of images: `count` rows from row `offset` of the catalog part `part` (a key of the output).

    `id` is a digest of the path, size and version of these images.
    """

    id: str
    part: str
    offset: int
    count: int


@dataclass(frozen=True, slots=True)
class Selection:
    """Which images of a source belong to a run.

    `glob` is matched against the file name, or against the whole key if it has a slash; upper and lower case differ,
    as on S3. `per_class` keeps at most so many images of each label, and `images` at most so many in all, chosen by
    hash: spread over the class or the source, and the same each time. `shard_size` is the number of images a shard has
    on average (1/2 to 2 times that).
    """

    glob: str = DEFAULT_GLOB
    per_class: int | None = None
    shard_size: int = 512
    images: int | None = None


@dataclass(slots=True)
class Catalog:
    """The manifest of a catalog: what was listed, and the shards in the order of their images."""

    version: str
    source: str
    selection: Selection
    listed: int = 0
    left_out: int = 0
    left_out_by_case: int = 0
    total_bytes: int = 0
    labels: int = 0
    shards: list[Shard] = field(default_factory=list)

    @property
    def key(self) -> str:
        """Where the manifest lies in the output."""
        return catalog_key(self.version)

    def dump(self) -> bytes:
        """The manifest as JSON."""
        return json.dumps(asdict(self), indent=1, sort_keys=True).encode()

    @classmethod
    def load(cls, content: bytes) -> Catalog:
        """The inverse of `dump`."""
        plain = json.loads(content)
        plain["selection"] = Selection(**plain["selection"])
        plain["shards"] = [Shard(**shard) for shard in plain["shards"]]
        return cls(**plain)


def write_catalog(source: str, output: str, selection: Selection) -> Catalog:
    """List `source`, write its catalog below `output`, and return the manifest.

    Memory: one part, plus the chosen images where `per_class` or `images` is set. Listing the same images again writes
    the same files. Raises InputError for a missing or empty source, no match of the glob, or an output that belongs to
    another source.
    """
    _check_same_source(source, output)
    photos, target = open_source(source), open_storage(output)
    left_out = _LeftOut()

    def key(entry: Entry) -> str:
        # Not the path: a copy of the source in another place is cut and sampled alike.
        return photos.key(entry.path)

    entries = _matching(photos, selection.glob, left_out)
    if selection.per_class is not None:
        entries = _choose(entries, selection.per_class, key, lambda entry: entry.label)
    if selection.images is not None:
        entries = _choose(entries, selection.images, key, lambda _: "")
    catalog = Catalog(version="", source=source, selection=selection)
    labels: set[str] = set()
    digest = hashlib.sha256(f"{source}\n{selection}".encode())
    rows: list[tuple[Entry, str]] = []
    sizes: list[tuple[str, int]] = []

    def write_part() -> None:
        columns = [
            [entry.path for entry, _ in rows],
            [entry.label for entry, _ in rows],
            [entry.size for entry, _ in rows],
            [entry.version for entry, _ in rows],
            [shard for _, shard in rows],
        ]
        table = pa.table(columns, schema=tables.CATALOG)
        if any(entry.offset >= 0 for entry, _ in rows):
            table = table.append_column(tables.OFFSET, [[entry.offset for entry, _ in rows]])
        content = tables.to_parquet(table)
        part = catalog_part_key(hashlib.sha256(content).hexdigest())
        target.write(part, content)
        offset = 0
        for shard_id, count in sizes:
            catalog.shards.append(Shard(shard_id, part, offset, count))
            offset += count
        rows.clear()
        sizes.clear()

    for images in cut_into_shards(entries, selection.shard_size, key):
        shard_id = _shard_id(images)
        digest.update(shard_id.encode())
        rows.extend((entry, shard_id) for entry in images)
        sizes.append((shard_id, len(images)))
        labels.update(entry.label for entry in images)
        catalog.listed += len(images)
        catalog.total_bytes += sum(entry.size for entry in images)
        if len(sizes) == SHARDS_PER_PART:
            write_part()
    if sizes:
        write_part()
    catalog.left_out, catalog.left_out_by_case = left_out.files, left_out.by_case
    catalog.labels = len(labels)
    catalog.version = digest.hexdigest()[:20]
    _check_not_empty(catalog)
    target.write(catalog.key, catalog.dump())
    return catalog


def read_catalog(output: str, version: str) -> Catalog:
    """The manifest that `write_catalog` left below `output`."""
    return Catalog.load(open_storage(output).read(catalog_key(version)))


def read_shard_entries(output: str, shard: Shard) -> list[Entry]:
    """The images of one shard, in order. Raises ContractError when the catalog does not hold what its manifest says."""
    rows = _read_part(output, shard.part).slice(shard.offset, shard.count)
    if rows.num_rows != shard.count or set(rows["shard"].to_pylist()) != {shard.id}:
        raise ContractError(f"{shard.part} does not hold shard {shard.id}", "The output was changed: use another one.")
    return _entries(rows)


def find_entries(output: str, catalog: Catalog, paths: Iterable[str]) -> dict[str, Entry]:
    """The entries of these paths, by path. Memory: these, and one part of the catalog."""
    wanted = pa.array(sorted(set(paths)), pa.string())
    found: dict[str, Entry] = {}
    for part in dict.fromkeys(shard.part for shard in catalog.shards):
        rows = tables.from_parquet(open_storage(output).read(part))
        found |= {entry.path: entry for entry in _entries(rows.filter(pc.is_in(rows["path"], value_set=wanted)))}
    return found


def _entries(rows: pa.Table) -> list[Entry]:
    names = [name for name in ("path", "label", "size", "version", "offset") if name in rows.column_names]
    return [Entry(**row) for row in rows.select(names).to_pylist()]


@dataclass(slots=True)
class _LeftOut:
    """Files that the glob did not match; `by_case` of them only by upper or lower case."""

    files: int = 0
    by_case: int = 0


def _matching(source: Source, glob: str, left_out: _LeftOut) -> Iterator[Entry]:
    for entry in source.list():
        key = source.key(entry.path)
        name = key if "/" in glob else key.rsplit("/", 1)[-1]
        if fnmatch.fnmatchcase(name, glob) or (glob == DEFAULT_GLOB and not source.names_tell):
            source.check_entry(entry)
            yield entry
        else:
            left_out.files += 1
            left_out.by_case += fnmatch.fnmatchcase(name.lower(), glob.lower())


def _choose(
    entries: Iterator[Entry], most: int, key: Callable[[Entry], str], group: Callable[[Entry], str]
) -> Iterator[Entry]:
    """The `most` images of each group with the smallest hash of their key, in path order."""
    chosen: dict[str, list[tuple[int, str, Entry]]] = {}
    for entry in entries:
        heap = chosen.setdefault(group(entry), [])
        # Negative, because heapq keeps the smallest on top and the largest hash has to go first.
        heapq.heappush(heap, (-name_hash(key(entry)), entry.path, entry))
        if len(heap) > most:
            heapq.heappop(heap)
    return iter(sorted((entry for heap in chosen.values() for _, _, entry in heap), key=lambda entry: entry.path))


def _check_not_empty(catalog: Catalog) -> None:
    if catalog.listed:
        return
    if catalog.left_out:
        also = f" ({catalog.left_out_by_case:,} would in another case)" if catalog.left_out_by_case else ""
        raise InputError(
            f"none of the {catalog.left_out:,} files below {catalog.source} matches {catalog.selection.glob}{also}",
            "Choose another --glob; upper and lower case differ.",
        )
    raise open_source(catalog.source).nothing_there()


def _check_same_source(source: str, output: str) -> None:
    """An output belongs to one source for good, so that no reader ever meets rows of two."""
    storage = open_storage(output)
    for item in storage.list(CATALOGS):
        if item.key.endswith(".json"):
            former = Catalog.load(storage.read(item.key)).source
            if former != source:
                raise InputError(
                    f"{output} holds results of another source: {former}",
                    "Choose another output, or remove this one first.",
                )
            return


def _shard_id(images: list[Entry]) -> str:
    digest = hashlib.sha256()
    for entry in images:
        digest.update(json.dumps([entry.path, entry.size, entry.version]).encode())
    return digest.hexdigest()[:20]


@functools.lru_cache(maxsize=2)
def _read_part(output: str, part: str) -> pa.Table:
    # A worker meets the shards of a part one after the other; a part never changes, its name is its digest.
    return tables.from_parquet(open_storage(output).read(part))
