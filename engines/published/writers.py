"""Transformed photos as JSON lines, CSV or parquet, written as they come."""

from __future__ import annotations

import csv
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from engines.core import tables
from engines.core.output import RunRecord
from engines.published.model import Float32, Transformed

_ROWS_PER_GROUP = 4096


class Writer(ABC):
    """Writes rows into a binary file that its caller opens and closes. `close` completes what is in it."""

    def __init__(self, file: IO[bytes], record: RunRecord) -> None:
        self._file = file
        self._record = record

    @abstractmethod
    def write(self, row: Transformed) -> None:
        """Take the next photo."""

    @abstractmethod
    def close(self) -> None:
        """Write what is left."""


class JsonLines(Writer):
    """An object a line: path, label, pcaFeatures (null for a reject), reason and detail (null for a result)."""

    def write(self, row: Transformed) -> None:
        """See Writer."""
        plain = {
            "path": row.path,
            "label": row.label,
            "pcaFeatures": None if row.values is None else numbers(row.values),
            "reason": row.reason or None,
            "detail": row.detail or None,
        }
        self._file.write(json.dumps(plain, ensure_ascii=False).encode() + b"\n")

    def close(self) -> None:
        """See Writer."""


class Csv(Writer):
    """A header and a line a photo: path, label, reason, detail, then pca_1 to pca_k, which are empty for a reject."""

    def __init__(self, file: IO[bytes], record: RunRecord) -> None:
        super().__init__(file, record)
        self._line("path", "label", "reason", "detail", *(f"pca_{number + 1}" for number in range(record.components)))

    def write(self, row: Transformed) -> None:
        """See Writer."""
        values = [""] * self._record.components if row.values is None else map(str, row.values)
        self._line(row.path, row.label, row.reason, row.detail, *values)

    def close(self) -> None:
        """See Writer."""

    def _line(self, *fields: str) -> None:
        line = io.StringIO()
        csv.writer(line).writerow(fields)
        self._file.write(line.getvalue().encode())


class Parquet(Writer):
    """`tables.TRANSFORMED`, with what the vectors are in its metadata, as in the results of a run."""

    def __init__(self, file: IO[bytes], record: RunRecord) -> None:
        super().__init__(file, record)
        facts = json.dumps(facts_of(record), sort_keys=True).encode()
        self._schema = tables.TRANSFORMED.with_metadata({tables.METADATA_KEY: facts})
        self._parquet = pq.ParquetWriter(file, self._schema, compression="zstd")
        self._rows: list[Transformed] = []

    def write(self, row: Transformed) -> None:
        """See Writer."""
        self._rows.append(row)
        if len(self._rows) == _ROWS_PER_GROUP:
            self._write_group()

    def close(self) -> None:
        """See Writer."""
        self._write_group()
        self._parquet.close()

    def _write_group(self) -> None:
        columns = {
            "path": [row.path for row in self._rows],
            "label": [row.label for row in self._rows],
            "pcaFeatures": [row.values for row in self._rows],
            "reason": [row.reason or None for row in self._rows],
            "detail": [row.detail or None for row in self._rows],
        }
        self._parquet.write_table(pa.table(columns, schema=self._schema))
        self._rows.clear()


FORMATS: Mapping[str, type[Writer]] = {"jsonl": JsonLines, "csv": Csv, "parquet": Parquet}
"""By the ending of a file's name."""


def numbers(values: Float32) -> list[float]:
    """The values with the fewest digits that give the same float32 again."""
    return [float(str(value)) for value in values.astype(np.float32)]


def facts_of(record: RunRecord) -> dict[str, object]:
    """What the vectors of a run are, see `tables.vector_facts`."""
    return tables.vector_facts(
        record.components, record.model.recipe["architecture"], record.model.fingerprint, record.pca.rpartition("/")[2]
    )
