"""The published rows in their order, and the part (train, test, ...) that each belongs to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from engines.core.errors import InputError
from engines.core.index.labelling import folder_at, split_name
from engines.core.output import Part, RunRecord
from engines.core.sources import open_source
from engines.core.storage import open_storage

_TRAINING = "train"


@dataclass(frozen=True, slots=True)
class Rows:
    """One entry per published photo, in the order of the results. `splits` are "" where there are none."""

    paths: list[str]
    labels: list[str]
    splits: list[str]


@dataclass(frozen=True, slots=True)
class SplitRule:
    """How a row's part is found: the folder at `depth` (1 is the first below the source), or the column `split`."""

    source: str
    depth: int | None = None

    def of(self, table: pa.Table) -> list[str]:
        """The part of each row of a table of results; "" for none."""
        if self.depth is None:
            return table["split"].to_pylist() if "split" in table.column_names else [""] * table.num_rows
        key = open_source(self.source).key
        return [split_name(folder_at(key(path), self.depth)) for path in table["path"].to_pylist()]


def read_columns(output: str, part: Part | str, wanted: Sequence[str]) -> pa.Table:
    """Those of the `wanted` columns that a part of the results has."""
    with open_storage(output).open(part if isinstance(part, str) else part.key) as file:
        parquet = pq.ParquetFile(file)
        return parquet.read([name for name in wanted if name in parquet.schema_arrow.names])


def read_rows(output: str, record: RunRecord, rule: SplitRule) -> Rows:
    """All rows that the record publishes, without their values. Memory: their paths and labels."""
    rows = Rows([], [], [])
    for part in record.parts:
        table = read_columns(output, part, ("path", "label", "split"))
        rows.paths.extend(table["path"].to_pylist())
        rows.labels.extend(table["label"].to_pylist())
        rows.splits.extend(rule.of(table))
    return rows


def training_part(splits: Sequence[str], depth: int | None) -> str | None:
    """The part the others are held against: train, else the largest; None where there are not two parts.

    Raises InputError when a `depth` was asked for and finds no two parts.
    """
    counts = Counter(split for split in splits if split)
    if len(counts) < 2:
        if depth is not None:
            found = ", ".join(counts) or "no folder there"
            raise InputError(
                f"at depth {depth} below the source there are no two parts: {found}",
                "Give --split-depth 1 where train and test are the first folders below the source.",
            )
        return None
    return _TRAINING if _TRAINING in counts else min(counts, key=lambda split: (-counts[split], split))
