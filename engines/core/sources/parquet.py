"""Photos in a column of parquet files: encoded images as bytes, or as Hugging Face's `image` struct of bytes and path.

Listing reads the footer, the column of labels and the names; workers read the batch of rows a photo is in. The member
that a photo's path names is its row, and its file name where the table has one. The label is the column `label`, by its
names where Hugging Face's metadata have them, else the folder in the name. A photo's version is that of its file, and
its size is not known before it is read.
"""

from __future__ import annotations

import contextlib
import functools
import json
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from engines.core.errors import InputError, StorageError
from engines.core.rejects import RejectedImageError
from engines.core.sources.archives import Archives, Member
from engines.core.sources.base import Entry
from engines.core.sources.ranges import BLOCK, RangeFile
from engines.core.storage import StoredObject

_IMAGE_NAMES = ("image", "img", "photo", "picture", "bytes", "content", "jpg", "jpeg", "png")
_LABEL_NAMES = ("label", "class", "category")
"""Names of columns, the first that is there."""

_ROW_DIGITS = 9
_BATCH_BYTES = 2**24
_MOST_ROWS = 256
_BATCHES = 4
"""Batches kept for rows beside those that were read: 64 MB at most, unless single photos are larger than a batch."""


class Parquet(Archives):
    """A parquet file with a column of encoded images, or several."""

    suffix = ".parquet"
    names_tell = False

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self._opening = threading.Lock()
        self._cached = functools.lru_cache(maxsize=8)(self._open)

    def columns(self) -> Mapping[str, pa.DataType]:
        """See Source: the other columns of the first file."""
        first = self.archives()[0]
        with self._opened(first) as file:
            schema = file.schema_arrow
            image = self._image_column(first.key, schema)
            kinds = {field.name: field.type for field in schema if field.name != image and not _is_bytes(field.type)}
            return kinds | {
                name: pa.string() for name in _LABEL_NAMES if name in kinds and _names_of_labels(schema, name)
            }

    def members(self, archive: StoredObject) -> Iterator[Member]:
        """See Archives. Raises InputError for a file without a column of images."""
        with self._opened(archive) as file:
            schema = file.schema_arrow
            image = self._image_column(archive.key, schema)
            wanted = [field.name for field in schema if field.name != image and not _is_bytes(field.type)]
            label = next((name for name in _LABEL_NAMES if name in wanted), None)
            names_of_labels = _names_of_labels(schema, label)
            named = "path" in _children(schema.field(image).type)
            rows = _rows(file, [*([f"{image}.path"] if named else []), *wanted])
            for row, columns in enumerate(rows):
                path = (columns.pop(image, None) or {}).get("path") or ""
                folder, _, name = path.rpartition("/")
                member = f"{row:0{_ROW_DIGITS}d}/{name}" if name else f"{row:0{_ROW_DIGITS}d}"
                shown = folder.rpartition("/")[2]
                if label:
                    shown = _label_text(columns[label], names_of_labels)
                known = columns | {label: shown} if label and names_of_labels else columns
                yield Member(member, 0, archive.version, shown, known)

    def read_member(self, archive: str, name: str, entry: Entry) -> bytes:
        """See Archives."""
        row = name.partition("/")[0]
        if not row.isdigit():
            raise StorageError(f"{entry.path} does not exist", "Rows of a parquet file are named by their number.")
        with self._opening:
            table = self._cached(archive, entry.version)
        try:
            content = table.read(int(row))
        except pa.ArrowException as error:
            raise RejectedImageError("unreadable_member", f"{type(error).__name__}: {_first_line(error)}") from error
        except IndexError:
            raise StorageError(f"{entry.path} does not exist", "The file was changed since it was listed.") from None
        if content is None:
            raise RejectedImageError("empty", "the row has no image")
        return content

    def _open(self, archive: str, version: str) -> _ImageTable:
        item = self.storage.stat(archive)
        if item is None:
            raise StorageError(f"{self.storage.uri(archive)} does not exist", "It may have been moved or removed.")
        known = StoredObject(item.key, item.size, version or item.version)
        with self._explained(known):
            file = self._file(known)
        return _ImageTable(file, self._image_column(archive, file.schema_arrow))

    @contextlib.contextmanager
    def _opened(self, archive: StoredObject) -> Iterator[pq.ParquetFile]:
        with self._explained(archive), self._file(archive) as file:
            yield file

    def _file(self, archive: StoredObject) -> pq.ParquetFile:
        file = cast("IO[bytes]", RangeFile(self.storage, archive, unchanged=True))
        # Without buffer_size, a whole column of a row group is read at once.
        return pq.ParquetFile(file, buffer_size=BLOCK, pre_buffer=False)

    @contextlib.contextmanager
    def _explained(self, archive: StoredObject) -> Iterator[None]:
        try:
            yield
        except pa.ArrowException as error:
            raise self.damaged(archive.key, _first_line(error)) from error

    def _image_column(self, archive: str, schema: pa.Schema) -> str:
        structs = [field.name for field in schema if "bytes" in _children(field.type)]
        found = structs or [field.name for field in schema if _is_bytes(field.type)]
        chosen = found if len(found) == 1 else [name for name in _IMAGE_NAMES if name in found]
        if not chosen:
            what = f"several: {', '.join(found)}" if found else f"none: {', '.join(schema.names)}"
            raise InputError(
                f"{self.storage.uri(archive)} has no column that is known to hold images, of {what}",
                "Name the column of encoded images `image`, with bytes, or a struct of bytes and path.",
            )
        return str(chosen[0])


class _ImageTable:
    """The images of one file by row, read by batches in the order of the rows. May be used from several threads."""

    def __init__(self, file: pq.ParquetFile, column: str) -> None:
        self._file = file
        self._column = column
        kind = file.schema_arrow.field(column).type
        self._leaf = f"{column}.bytes" if pa.types.is_struct(kind) else column
        self._starts = [0]
        for group in range(file.metadata.num_row_groups):
            self._starts.append(self._starts[-1] + file.metadata.row_group(group).num_rows)
        self._lock = threading.Lock()
        self._batches: OrderedDict[tuple[int, int], list[bytes | None]] = OrderedDict()
        self._stream: Iterator[Any] = iter(())
        self._group, self._next = -1, 0

    def read(self, row: int) -> bytes | None:
        """The bytes of a row, or None. Raises IndexError for a row that is not there, ArrowException for damage."""
        group = next((g for g in range(len(self._starts) - 1) if self._starts[g] <= row < self._starts[g + 1]), None)
        if group is None:
            raise IndexError(row)
        rows = self._rows_per_batch(group)
        number, position = divmod(row - self._starts[group], rows)
        with self._lock:
            if (group, number) not in self._batches:
                self._batches[group, number] = self._batch(group, number, rows)
                while len(self._batches) > _BATCHES:
                    self._batches.popitem(last=False)
            return self._batches[group, number][position]

    def _batch(self, group: int, number: int, rows: int) -> list[bytes | None]:
        """Batch `number` of a row group; goes on where the last one ended, where it can."""
        if self._group != group or self._next > number:
            self._stream = self._file.iter_batches(batch_size=rows, row_groups=[group], columns=[self._leaf])
            self._group, self._next = group, 0
        try:
            while True:
                batch = next(self._stream)
                self._next += 1
                if self._next > number:
                    break
        except BaseException:
            self._group = -1
            raise
        column = batch.column(0)
        if pa.types.is_struct(column.type):
            column = column.flatten()[0]
        values: list[bytes | None] = column.to_pylist()
        return values

    def _rows_per_batch(self, group: int) -> int:
        facts = self._file.metadata.row_group(group)
        leaf = next(c for c in map(facts.column, range(facts.num_columns)) if c.path_in_schema == self._leaf)
        mean = max(1, leaf.total_uncompressed_size // max(1, facts.num_rows))
        return max(1, min(_MOST_ROWS, _BATCH_BYTES // int(mean)))


def _rows(file: pq.ParquetFile, columns: list[str]) -> Iterator[dict[str, Any]]:
    """The rows of a file, of which only these columns are read."""
    if not columns:
        yield from ({} for _ in range(file.metadata.num_rows))
        return
    for batch in file.iter_batches(columns=columns):
        yield from batch.to_pylist()


def _children(kind: pa.DataType) -> list[str]:
    return [kind.field(i).name for i in range(kind.num_fields)] if pa.types.is_struct(kind) else []


def _is_bytes(kind: pa.DataType) -> bool:
    return kind in (pa.binary(), pa.large_binary())


def _names_of_labels(schema: pa.Schema, label: str | None) -> list[str]:
    """The names that Hugging Face's metadata give to the numbers in the column of labels; empty for none."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return [str(name) for name in features[label]["names"]]
    except (KeyError, TypeError, ValueError):
        return []  # other programs write other metadata, or none


def _label_text(value: Any, names: list[str]) -> str:
    if value is None:
        return ""
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else str(value)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
