"""The catalog: every image of a source, in order, cut into shards.

A shard is the unit of work, of retry and of commit. Its borders depend on the images around them alone (see
`engines.core.index.sharding`): an image that is added changes the shard it falls in, at times the one beside it, and
less than once in a hundred times a third; all others keep their name and files.

The catalog is written while the source is listed, in parts of some thousand images, so that neither listing nor reading
needs it whole in memory. Its manifest is written last and is its commit.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import pyarrow as pa

from engines.core import tables
from engines.core.errors import DamagedError, InputError
from engines.core.index.labeller import Labeller, photos_of
from engines.core.index.labelling import Labelling, split_name
from engines.core.index.selection import LeftOut, Selection, check_not_empty
from engines.core.index.sharding import cut_into_shards
from engines.core.layout import CATALOGS, catalog_key, catalog_part_digest, catalog_part_key
from engines.core.output import read_record
from engines.core.proof.reading import damaged, read_json, read_named, sealed_json, there
from engines.core.sources import Entry, Source, folder_label, open_source
from engines.core.storage import open_storage

T = TypeVar("T")

SHARDS_PER_PART = 16


@dataclass(frozen=True, slots=True)
class Shard:
    """A fixed list of images: `count` rows from row `offset` of the catalog part `part` (a key of the output).

    `id` is a digest of the path, size and version of these images; what is said of them besides has no part in it.
    """

    id: str
    part: str
    offset: int
    count: int


@dataclass(frozen=True, slots=True)
class Split:
    """The images of one split: how many, and a digest of which."""

    images: int
    digest: str


@dataclass(slots=True)
class Catalog:
    """The manifest of a catalog: what was listed, and the shards in the order of their images.

    `labels` counts them. `splits`: by name, if the labelling has any; `columns`: those that are kept. `described`: a
    digest of what is said of the images; empty if that is the folder they lie in, and nothing else. `left_out`: files
    by reason and by what says so, see `LeftOut`. `remarks`: what a person should know, in sentences.
    """

    version: str
    source: str
    selection: Selection
    labelling: Labelling = field(default_factory=Labelling)
    listed: int = 0
    left_out: dict[str, dict[str, int]] = field(default_factory=dict)
    left_out_by_case: int = 0
    total_bytes: int = 0
    labels: int = 0
    splits: dict[str, Split] = field(default_factory=dict)
    columns: list[str] = field(default_factory=list)
    described: str = ""
    remarks: list[str] = field(default_factory=list)
    shards: list[Shard] = field(default_factory=list)

    @property
    def key(self) -> str:
        """Where the manifest lies in the output."""
        return catalog_key(self.version)

    def dump(self) -> bytes:
        """The manifest as JSON, sealed."""
        return sealed_json(asdict(self), self.key)

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Catalog:
        """The inverse of `dump`, behind the parsing. Raises KeyError, TypeError."""
        plain = dict(plain)
        plain["selection"] = Selection(**plain["selection"])
        plain["labelling"] = Labelling(**plain.get("labelling", {}))
        plain["splits"] = {name: Split(**split) for name, split in plain.get("splits", {}).items()}
        plain["shards"] = [Shard(**shard) for shard in plain["shards"]]
        if isinstance(plain["left_out"], int):  # as manifests had it that knew no reasons
            plain["left_out"] = {"not_matched": {"others": plain["left_out"]}} if plain["left_out"] else {}
        return cls(**plain)


def write_catalog(
    source: str, output: str, selection: Selection, labelling: Labelling | None = None, *, moved: bool = False
) -> Catalog:
    """List `source`, write its catalog below `output`, and return the manifest.

    Memory: one part, plus the chosen images where `per_class` or `images` is set, plus metadata. Listing the same
    images again writes the same files. Raises InputError for a missing or empty source, no match of the glob, metadata
    that cannot be used, or an output that belongs to another source, unless that was `moved`.
    """
    if not moved:
        _check_same_source(source, output)
    photos = open_source(source)
    left_out = LeftOut()
    labeller = Labeller(photos, labelling or Labelling(), selection)

    def key(entry: Entry) -> str:
        # Not the path: a copy of the source in another place is cut and sampled alike.
        return photos.key(entry.path)

    writer = _Writer(Catalog("", source, selection, labeller.labelling), photos, output, labeller.fields)
    for images in cut_into_shards(photos_of(photos, selection, labeller, left_out), selection.shard_size, key):
        writer.add(images)
    check_not_empty(photos, selection, writer.catalog.listed, left_out)
    return writer.finish(left_out, left_out.remarks() + labeller.remarks())


class _Writer:
    """Writes the parts of a catalog while shards come, and its manifest at the end."""

    def __init__(self, catalog: Catalog, source: Source, output: str, fields: list[pa.Field]) -> None:
        self.catalog = catalog
        self._source, self._storage = source, open_storage(output)
        self._schema = tables.catalog_rows(
            own_labels=not catalog.labelling.own_labels, splits=catalog.labelling.has_splits, columns=fields
        )
        catalog.columns = [field.name for field in fields]
        self._rows: list[tuple[Entry, str]] = []
        self._sizes: list[tuple[str, int]] = []
        self._labels: set[str] = set()
        self._shards, self._described = hashlib.sha256(), hashlib.sha256()
        self._by_folder = not (catalog.labelling.has_splits or fields)
        self._splits: dict[str, tuple[int, Any]] = {}

    def add(self, images: list[Entry]) -> None:
        """Take in the images of the next shard."""
        shard = _shard_id(images)
        self._shards.update(shard.encode())
        self._rows.extend((entry, shard) for entry in images)
        self._sizes.append((shard, len(images)))
        catalog = self.catalog
        catalog.listed += len(images)
        catalog.total_bytes += sum(entry.size for entry in images)
        for number, entry in enumerate(images):
            self._labels.add(entry.label)
            self._by_folder = self._by_folder and entry.label == folder_label(self._source.key(entry.path))
            said = [entry.label, entry.split, *entry.columns.values()]
            self._described.update(json.dumps(said, default=str).encode())
            if catalog.labelling.has_splits:
                count, digest = self._splits.setdefault(entry.split, (0, hashlib.sha256()))
                digest.update(f"{shard} {number}\n".encode())
                self._splits[entry.split] = (count + 1, digest)
        if len(self._sizes) == SHARDS_PER_PART:
            self._write_part()

    def finish(self, left_out: LeftOut, remarks: list[str]) -> Catalog:
        """Write what is left, and the manifest."""
        if self._sizes:
            self._write_part()
        catalog = self.catalog
        catalog.left_out, catalog.left_out_by_case = left_out.in_order(), left_out.by_case
        catalog.labels = len(self._labels)
        catalog.splits = {
            name: Split(count, digest.hexdigest()[:20]) for name, (count, digest) in sorted(self._splits.items())
        }
        if not self._by_folder:
            catalog.described = _digest([[str(field) for field in self._schema], self._described.hexdigest()])
        catalog.remarks = remarks
        facts = [catalog.source, asdict(catalog.selection), asdict(catalog.labelling), catalog.described]
        catalog.version = _digest([*facts, self._shards.hexdigest()])
        if there(lambda: read_manifest(self._storage.url, catalog.key)) != catalog:
            self._storage.write(catalog.key, catalog.dump())
        return catalog

    def _write_part(self) -> None:
        entries = [entry for entry, _ in self._rows]
        columns: dict[str, Any] = {
            "path": [entry.path for entry in entries],
            "label": [entry.label for entry in entries],
            "size": [entry.size for entry in entries],
            "version": [entry.version for entry in entries],
            "shard": [shard for _, shard in self._rows],
            "own_label": [entry.own_label for entry in entries],
            "split": [entry.split for entry in entries],
            "columns": [entry.columns for entry in entries],
        }
        table = pa.table({name: columns[name] for name in self._schema.names}, schema=self._schema)
        if any(entry.offset >= 0 for entry in entries):
            table = table.append_column(tables.OFFSET, [[entry.offset for entry in entries]])
        content = tables.to_parquet(table)
        part = catalog_part_key(hashlib.sha256(content).hexdigest())
        if there(lambda: read_named(self._storage, part, catalog_part_digest(part))) is None:
            self._storage.write(part, content)
        offset = 0
        for shard, count in self._sizes:
            self.catalog.shards.append(Shard(shard, part, offset, count))
            offset += count
        self._rows.clear()
        self._sizes.clear()


def read_catalog(output: str, version: str) -> Catalog:
    """The manifest that `write_catalog` left below `output`. Raises DamagedError when it is not there or not that."""
    return read_manifest(output, catalog_key(version))


def read_manifest(output: str, key: str) -> Catalog:
    """The manifest at a key of the output, as a record names it. Raises as `read_catalog`."""
    storage = open_storage(output)
    plain = read_json(storage, key)
    try:
        catalog = Catalog.from_json(plain)
    except (KeyError, TypeError) as error:
        raise damaged(storage, key, "corrupt", f"{type(error).__name__}: {error}") from error
    if catalog.key != key:
        raise damaged(storage, key, "foreign", f"it is the catalog {catalog.version}")
    return catalog


def split_named(name: str, splits: Mapping[str, T]) -> T:
    """What `splits` has of the split that a person calls `name`. Raises InputError when there is no such split."""
    if (found := splits.get(split_name(name))) is not None:
        return found
    names = ", ".join(map(repr, sorted(splits)))
    raise InputError(
        f"there is no split {split_name(name)!r} to fit to" + (f", only {names}" if names else ""),
        "Choose one of them." if names else "Say where splits come from: --split-depth 1 for SOURCE/train/...",
    )


def read_shard_rows(output: str, shard: Shard) -> pa.Table:
    """The rows of one shard (tables.catalog_rows), in order.

    Raises DamagedError when the catalog does not hold what its manifest says.
    """
    rows = _read_part(output, shard.part).slice(shard.offset, shard.count)
    if rows.num_rows != shard.count or set(rows["shard"].to_pylist()) - {shard.id}:
        raise damaged(open_storage(output), shard.part, "foreign", f"it does not hold the shard {shard.id}")
    return rows


def read_shard_entries(output: str, shard: Shard) -> list[Entry]:
    """The images of one shard, in order. Raises DamagedError as `read_shard_rows`."""
    return entries_of(read_shard_rows(output, shard))


def entries_of(rows: pa.Table) -> list[Entry]:
    """The images in rows of a catalog (tables.catalog_rows)."""
    return [Entry(**row) for row in rows.drop_columns("shard").to_pylist()]


def _check_same_source(source: str, output: str) -> None:
    """An output belongs to one source, so that no reader ever meets rows of two."""
    if (former := _source_of(output)) not in (None, source):
        raise InputError(
            f"{output} holds results of another source: {former}",
            "Choose another output, or remove this one first. If the photos were moved here: --source-moved.",
        )


def _source_of(output: str) -> str | None:
    with contextlib.suppress(InputError):  # nothing is published, or what is cannot be read
        return read_record(output).source
    for item in open_storage(output).list(CATALOGS):
        if item.key.endswith(".json"):
            with contextlib.suppress(DamagedError):  # one that belongs to this run is said, and written again
                return read_manifest(output, item.key).source
    return None


def _shard_id(images: list[Entry]) -> str:
    digest = hashlib.sha256()
    for entry in images:
        digest.update(json.dumps([entry.path, entry.size, entry.version]).encode())
    return digest.hexdigest()[:20]


def _digest(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:20]


@functools.lru_cache(maxsize=2)
def _read_part(output: str, part: str) -> pa.Table:
    # A worker meets the shards of a part one after the other; a part never changes, its name is its digest.
    return read_named(open_storage(output), part, catalog_part_digest(part))
