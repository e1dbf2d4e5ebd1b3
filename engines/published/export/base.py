"""What every format starts from: the published rows."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from engines.core import tables
from engines.core.errors import InputError
from engines.core.output import RunRecord
from engines.published.rows import read_parts
from engines.published.writers import facts_of

VECTOR = "pcaFeatures"


@dataclass(frozen=True, slots=True)
class Exported:
    """What `record` publishes at `output`."""

    output: str
    record: RunRecord

    @property
    def rows(self) -> int:
        """How many there are."""
        return sum(part.rows for part in self.record.parts)

    @property
    def facts(self) -> dict[str, Any]:
        """What the vectors are, see `tables.vector_facts`."""
        return facts_of(self.record)

    def parts(self) -> Iterator[pa.Table]:
        """The rows, part by part, with the columns of the results."""
        return read_parts(self.output, self.record)

    def fixed_width_parts(self) -> Iterator[pa.Table]:
        """As `parts`, with vectors of a fixed length, which many programs want: fixed_size_list<float32>[k]."""
        kind = pa.list_(pa.float32(), self.record.components)
        for part in self.parts():
            position = part.schema.get_field_index(VECTOR)
            field = pa.field(VECTOR, kind, nullable=False)
            vectors = tables.to_lists(self.matrix(part), kind)
            yield part.set_column(position, field, vectors).replace_schema_metadata(None)

    def vectors_beside_rows(self, folder: str) -> Iterator[npt.NDArray[np.float32]]:
        """The vectors, float32[n, k] of each part; everything else goes into `rows.parquet`, in the same order.

        What the vectors are is said in `vectors.json`.
        """
        with open(os.path.join(folder, "vectors.json"), "w", encoding="utf-8") as file:
            json.dump(self.facts, file, indent=1)
        writer = None
        for part in self.parts():
            table = part.drop_columns([VECTOR]).replace_schema_metadata(None)
            writer = writer or pq.ParquetWriter(os.path.join(folder, "rows.parquet"), table.schema, compression="zstd")
            writer.write_table(table)
            yield np.ascontiguousarray(self.matrix(part))
        if writer is not None:
            writer.close()

    def matrix(self, part: pa.Table) -> npt.NDArray[np.float32]:
        """The vectors of a part, float32[n, k], of one without rows too."""
        return tables.to_matrix(part[VECTOR]).reshape(part.num_rows, self.record.components)


def missing_package(package: str, error: ModuleNotFoundError) -> InputError:
    """The error for a format whose package is not installed."""
    return InputError(
        f"this format needs the package {package}, which is not installed ({error.name})",
        "Install fruit-features[export].",
    )
