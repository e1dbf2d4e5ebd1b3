"""Metadata files: tables whose rows say something of photos, found by the column `file_name`.

The convention of Hugging Face's ImageFolder: `metadata.csv`, `.jsonl` or `.parquet` beside the photos, `file_name`
relative to the folder that the metadata file lies in.
"""

from __future__ import annotations

import io
import json
import posixpath
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from engines.core.errors import InputError
from engines.core.sources import Entry, Source
from engines.core.storage import normalize_location, open_storage

FILE_NAME = "file_name"
ENDINGS = ("csv", "jsonl", "parquet")
NAMES = frozenset(f"metadata.{ending}" for ending in ENDINGS)

_EXAMPLES = 3


@dataclass(slots=True)
class Metadata:
    """The rows of all metadata files: `table` has the columns that were asked for, `rows` the row of each photo's key.

    `used`: 1 for each row whose file was met in the source.
    """

    table: pa.Table
    rows: dict[str, int]
    used: bytearray
    _composed: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self._composed = {
            unicodedata.normalize("NFC", key): number for key, number in self.rows.items() if not key.isascii()
        }

    def row(self, key: str) -> int | None:
        """The row of a photo, which is met; None if there is none.

        A name that is written otherwise in Unicode is the same name: macOS takes letters and accents apart, tables are
        mostly written with them in one.
        """
        number = self.rows.get(key)
        if number is None and not key.isascii():
            number = self._composed.get(unicodedata.normalize("NFC", key))
        if number is not None:
            self.used[number] = 1
        return number

    def unmet(self) -> tuple[int, list[str]]:
        """How many rows' files were not met, and the keys of some."""
        missing = self.used.count(0)
        examples = (key for key, number in self.rows.items() if not self.used[number])
        return missing, [key for key, _ in zip(examples, range(_EXAMPLES), strict=False)]


def read_metadata(
    source: Source, location: str | None, texts: Iterable[str], values: Iterable[str], aside: Callable[[str], bool]
) -> Metadata | None:
    """The metadata at `location`, whose `file_name`s are relative to the source; without one, of the files in it.

    `texts` and `values` name the columns to have: the first as text, whatever they hold. None when there are no
    metadata files. `aside`: whether a key of the source is not to be looked at. Memory: the rows. Raises InputError for
    a file that cannot be read, a column that it does not have, a row without `file_name`, and two rows of one photo.
    """
    texts, values = list(dict.fromkeys(texts)), list(dict.fromkeys(values))
    if location is not None:
        location = normalize_location(location)
        folder, name = location.rsplit("/", 1)
        files = [("", location, open_storage(folder or "/").read(name))]
    else:
        found = _beside_photos(source, aside)
        files = [(posixpath.dirname(source.key(entry.path)), entry.path, source.read(entry)) for entry in found]
    if not files:
        return None
    parts: list[pa.Table] = []
    rows: dict[str, int] = {}
    origins: list[str] = []
    for folder, name, content in files:
        table = _read(name, content, texts, values)
        for number, file_name in enumerate(table[FILE_NAME].to_pylist()):
            if not file_name:
                raise InputError(
                    f"{name} has no {FILE_NAME} in row {number + 1}", "Give each row the name of its file."
                )
            key = posixpath.join(folder, file_name.removeprefix("./"))
            if key in rows:
                raise InputError(
                    f"{name} has a second row for {key}, row {number + 1}; the first is in {origins[rows[key]]}",
                    "Leave one row for each file.",
                )
            rows[key] = len(origins)
            origins.append(name)
        parts.append(table.drop_columns([] if FILE_NAME in {*texts, *values} else [FILE_NAME]))
    return Metadata(_together(parts, [name for _, name, _ in files]), rows, bytearray(len(origins)))


def has_metadata(source: Source, aside: Callable[[str], bool]) -> bool:
    """Whether `read_metadata` finds files in the source."""
    return bool(_beside_photos(source, aside))


def check_metadata_file(location: str) -> str:
    """The normalized location of a metadata file. Raises InputError for one of another kind, or that is not there."""
    location = normalize_location(location)
    if location.rsplit(".", 1)[-1].lower() not in ENDINGS:
        raise InputError(f"{location} is no metadata file", f"Its name has to end with .{', .'.join(ENDINGS)}.")
    folder, name = location.rsplit("/", 1)
    if not open_storage(folder or "/").exists(name):
        raise InputError(f"the metadata file {location} does not exist", "Check --metadata.")
    return location


def _beside_photos(source: Source, aside: Callable[[str], bool]) -> list[Entry]:
    found: dict[str, Entry] = {}
    for entry in source.list():
        key = source.key(entry.path)
        if posixpath.basename(key) in NAMES and not aside(key):
            folder = posixpath.dirname(key)
            if folder in found:
                raise InputError(
                    f"{entry.path} and {found[folder].path} are metadata of the same photos",
                    "Leave one of them, or name it with --metadata.",
                )
            found[folder] = entry
    return list(found.values())


def _read(name: str, content: bytes, texts: list[str], values: list[str]) -> pa.Table:
    reader = {"csv": _read_csv, "jsonl": _read_jsonl, "parquet": _read_parquet}[name.rsplit(".", 1)[-1].lower()]
    wanted = list(dict.fromkeys([FILE_NAME, *texts, *values]))
    try:
        table = reader(content, [FILE_NAME, *texts])
        if missing := [column for column in wanted if column not in table.column_names]:
            raise InputError(
                f"{name} has no column {', '.join(map(repr, missing))}",
                f"Its columns are {', '.join(map(repr, table.column_names))}.",
            )
        table = table.select(wanted)
        for column in (FILE_NAME, *texts):
            index = table.column_names.index(column)
            table = table.set_column(index, column, pa.array(map(_text, table[column].to_pylist()), pa.string()))
    except (pa.ArrowException, ValueError) as error:
        raise InputError(f"{name} cannot be read: {str(error).splitlines()[0]}", "Mend the file.") from error
    return table


def _read_csv(content: bytes, texts: list[str]) -> pa.Table:
    # Not inferred: as a number, the label 007 would be 7.
    convert = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(texts, pa.string()))
    parse = pyarrow.csv.ParseOptions(newlines_in_values=True)
    return pyarrow.csv.read_csv(io.BytesIO(content), parse_options=parse, convert_options=convert)


def _read_jsonl(content: bytes, _: list[str]) -> pa.Table:
    rows = []
    for number, line in enumerate(content.decode("utf-8-sig").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
        if not isinstance(row, dict):
            raise ValueError(f"line {number} is no JSON object")  # noqa: TRY004 - a wrong file, not a wrong call
        rows.append(row)
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: [row.get(name) for row in rows] for name in names})


def _read_parquet(content: bytes, _: list[str]) -> pa.Table:
    return pq.read_table(pa.BufferReader(content))


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _together(parts: list[pa.Table], names: list[str]) -> pa.Table:
    try:
        return pa.concat_tables(parts, promote_options="permissive")
    except pa.ArrowException as error:
        raise InputError(
            f"the columns of {', '.join(names)} are of different types: {str(error).splitlines()[0]}",
            "Make them equal.",
        ) from error
