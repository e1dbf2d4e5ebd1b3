"""`csv`: one table for spreadsheets, R, and whatever else reads text."""

from __future__ import annotations

import os

import pyarrow as pa
import pyarrow.csv as pc

from engines.published.export.base import VECTOR, Exported


def write_csv(rows: Exported, folder: str) -> None:
    """Write `results.csv`: the columns of the results, and pca_1 to pca_k in place of the vector.

    Numbers have the digits that give the same float32 again.
    """
    writer = None
    for part in rows.parts():
        matrix = rows.matrix(part)
        table = part.drop_columns([VECTOR]).replace_schema_metadata(None)
        for number in range(rows.record.components):
            table = table.append_column(f"pca_{number + 1}", pa.array(matrix[:, number]))
        writer = writer or pc.CSVWriter(os.path.join(folder, "results.csv"), table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()
