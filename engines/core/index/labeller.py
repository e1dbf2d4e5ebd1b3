"""Photos of a source with what is said of them: label, split, and columns that are kept."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from engines.core.errors import InputError
from engines.core.index.labelling import Labelling, check_labelling, folder_at, split_name
from engines.core.index.metadata import Metadata, read_metadata
from engines.core.index.selection import LeftOut, Rules, Selection, choose, selected
from engines.core.sources import Entry, Source

_EXAMPLES = 3


class Labeller:
    """Gives the photos of a source their label, split and columns, and counts those that it finds none for."""

    def __init__(self, source: Source, labelling: Labelling, selection: Selection) -> None:
        check_labelling(labelling)
        self._source, self.labelling = source, labelling
        self._regex = re.compile(labelling.label_regex) if labelling.label_regex is not None else None
        self._metadata: Metadata | None = None
        columns: Mapping[str, pa.DataType] = {}
        if labelling.texts or labelling.keep_columns:
            aside = Rules(selection).why_aside
            self._metadata = read_metadata(
                source,
                labelling.metadata,
                labelling.texts,
                labelling.keep_columns,
                lambda key: aside(key) is not None,
            )
            columns = self._columns()
        self.fields = [pa.field(name, _stored(columns[name])) for name in labelling.keep_columns]
        """The columns that are kept, with their types; any value may be null."""
        self._texts, self._values = self._as_python()
        self._photos = 0
        self._without_row = _Examples()
        self._without_label = _Examples()

    def __call__(self, entry: Entry) -> Entry:
        """The photo with its label, split and columns."""
        key = self._source.key(entry.path)
        labelling = self.labelling
        self._photos += 1
        known = self._known(entry, key)
        found = self._regex.search(key) if self._regex else None
        label = entry.label
        if labelling.labels == "metadata":
            label = _plain(known.get(labelling.label_column))
        elif labelling.labels == "regex":
            label = (found["label"] or "") if found else ""
        elif labelling.label_depth is not None:
            label = folder_at(key, labelling.label_depth)
        if not label and not labelling.own_labels:
            self._without_label.add(key)
        split = ""
        if labelling.split_depth is not None:
            split = folder_at(key, labelling.split_depth)
        elif labelling.split_column is not None:
            split = _plain(known.get(labelling.split_column))
        elif found and "split" in found.groupdict():
            split = found["split"] or ""
        columns = {name: known.get(name) for name in labelling.keep_columns}
        own_label = None if labelling.own_labels else entry.label
        return replace(entry, label=label, split=split_name(split), columns=columns, own_label=own_label)

    def skipped(self, key: str) -> None:
        """A file is none of the run's photos: a row of the metadata for it is not without a file."""
        if self._metadata is not None:
            self._metadata.row(key)

    def remarks(self) -> list[str]:
        """What was looked for and not found, once all photos were labelled, in sentences.

        Raises InputError when there are photos, and not one of them has a row or a label.
        """
        labelling, remarks = self.labelling, []
        of_all = f"of the {self._photos:,} photos"
        if self._metadata is not None:
            unmet, examples = self._metadata.unmet()
            rows = self._metadata.table.num_rows
            if self._photos and self._without_row.count == self._photos:
                raise InputError(
                    f"no photo has a row in the metadata: photos are such as {self._without_row}, "
                    f"rows such as {', '.join(examples)}",
                    "file_name has to be relative to the folder that the metadata file lies in"
                    + (", with --metadata to the source." if labelling.metadata else "."),
                )
            if unmet:
                remarks.append(
                    f"{unmet:,} of the {rows:,} rows of the metadata are of no file, such as {', '.join(examples)}."
                )
            if self._without_row.count:
                remarks.append(
                    f"{self._without_row.count:,} {of_all} have no row in the metadata: {self._without_row}."
                )
        if self._photos and self._without_label.count == self._photos:
            raise InputError(
                f"no photo has a label by --labels {labelling.labels}: photos are such as {self._without_label}",
                f"The expression is {labelling.label_regex!r}."
                if self._regex
                else "Look at them with fruits ls SOURCE.",
            )
        if self._without_label.count > self._without_row.count:
            remarks.append(f"{self._without_label.count:,} {of_all} have no label: {self._without_label}.")
        return remarks

    def _columns(self) -> Mapping[str, pa.DataType]:
        """The types of the columns at hand. Raises InputError when one that was asked for is not among them."""
        if self._metadata is not None:
            return {field.name: field.type for field in self._metadata.table.schema}
        columns = self._source.columns()
        wanted = [*self.labelling.texts, *self.labelling.keep_columns]
        if not columns:
            raise InputError(
                f"there is no metadata below {self._source.location} to take {', '.join(map(repr, wanted))} from",
                "Name a file with --metadata FILE, or put metadata.csv, .jsonl or .parquet beside the photos.",
            )
        if missing := [name for name in wanted if name not in columns]:
            raise InputError(
                f"{self._source.location} has no column {', '.join(map(repr, missing))}",
                f"Its columns are {', '.join(map(repr, columns))}.",
            )
        return columns

    def _as_python(self) -> tuple[dict[str, list[Any]], dict[str, pa.ChunkedArray]]:
        """Texts as a list, as each is looked at; values as they are, as they may be large."""
        if self._metadata is None:
            return {}, {}
        table = self._metadata.table
        return (
            {name: table[name].to_pylist() for name in self.labelling.texts},
            {name: table[name] for name in self.labelling.keep_columns},
        )

    def _known(self, entry: Entry, key: str) -> Mapping[str, Any]:
        if self._metadata is None:
            return entry.columns
        row = self._metadata.row(key)
        if row is None:
            self._without_row.add(key)
            return {}
        values = {name: column[row].as_py() for name, column in self._values.items()}
        return values | {name: texts[row] for name, texts in self._texts.items()}


def photos_of(source: Source, selection: Selection, labeller: Labeller, left_out: LeftOut) -> Iterator[Entry]:
    """The photos that a selection takes, labelled, in the order of their keys; fills `left_out`.

    Raises InputError as `engines.core.index.selection.selected`.
    """

    def key(entry: Entry) -> str:
        # Not the path: a copy of the source in another place is sampled alike.
        return source.key(entry.path)

    entries: Iterator[Entry] = map(labeller, selected(source, selection, left_out, labeller.skipped))
    if selection.per_class is not None:
        entries = choose(entries, selection.per_class, key, lambda entry: entry.label)
    if selection.images is not None:
        entries = choose(entries, selection.images, key, lambda _: "")
    return entries


@dataclass(slots=True)
class _Examples:
    """A count of photos, and the keys of the first ones."""

    count: int = 0
    keys: tuple[str, ...] = ()

    def add(self, key: str) -> None:
        self.count += 1
        if len(self.keys) < _EXAMPLES:
            self.keys += (key,)

    def __str__(self) -> str:
        return ", ".join(self.keys) + (", ..." if self.count > len(self.keys) else "")


def _plain(value: Any) -> str:
    return "" if value is None else str(value)


def _stored(kind: pa.DataType) -> pa.DataType:
    """The type that a column is kept with: plain values for a dictionary's, text where all is null."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.string() if pa.types.is_null(kind) else kind
