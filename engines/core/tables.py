"""The tables of an output: their schemas, and parquet as bytes.

One writer and one set of options, so that equal rows are equal bytes. No column of what an output holds is ever null,
but those that a run keeps of its photos' metadata.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq


def _schema(*fields: tuple[str, pa.DataType]) -> pa.Schema:
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in fields])


CATALOG = _schema(
    ("path", pa.string()),
    ("label", pa.string()),
    ("size", pa.int64()),
    ("version", pa.string()),
    ("shard", pa.string()),
)
OFFSET = pa.field("offset", pa.int64(), nullable=False)
"""A column of the catalogs of archives that have no directory of their own, see `Entry.offset`."""

REJECTS = _schema(("path", pa.string()), ("label", pa.string()), ("reason", pa.string()), ("detail", pa.string()))
RESULTS = _schema(("path", pa.string()), ("label", pa.string()), ("pcaFeatures", pa.list_(pa.float32())))
TRANSFORMED = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("label", pa.string(), nullable=False),
        pa.field("pcaFeatures", pa.list_(pa.float32())),
        pa.field("reason", pa.string()),
        pa.field("detail", pa.string()),
    ]
)
"""New photos: results, and rejects with null for `pcaFeatures`; the results have null for `reason` and `detail`."""
SPECTRUM = _schema(
    ("component", pa.int32()),
    ("eigenvalue", pa.float64()),
    ("explained_variance_ratio", pa.float64()),
    ("cumulative_ratio", pa.float64()),
)


NEAREST = _schema(
    ("row", pa.int64()),
    ("neighbours", pa.list_(pa.int64())),
    ("distances", pa.list_(pa.float64())),
)
ISSUES = _schema(
    ("path", pa.string()),
    ("label", pa.string()),
    ("split", pa.string()),
    ("predicted_label", pa.string()),
    *(
        column
        for name in ("label", "outlier", "near_duplicate", "exact_duplicate", "class_imbalance", "leakage")
        for column in ((f"is_{name}_issue", pa.bool_()), (f"{name}_score", pa.float64()))
    ),
    ("nearest", pa.string()),
    ("nearest_distance", pa.float64()),
    ("near_duplicate_group", pa.int64()),
    ("exact_duplicate_group", pa.int64()),
    ("leakage_nearest", pa.string()),
)
LAYOUT = _schema(
    ("path", pa.string()),
    ("label", pa.string()),
    ("x", pa.float32()),
    ("y", pa.float32()),
    ("first", pa.float32()),
    ("second", pa.float32()),
    ("neighbours", pa.list_(pa.int64())),
)
"""Photos of the map: `x` and `y` in [-1, 1], the first two components, and the nearest others by their row in it."""


METRIC = "euclidean"
"""How far two photos are apart: the distance of their projections. Projections are not divided by their deviations."""


def vector_facts(width: int, network: str, fingerprint: str, pca: str) -> dict[str, Any]:
    """What a file of projected rows says of them in its metadata, see `to_parquet`."""
    return {"width": width, "metric": METRIC, "network": network, "fingerprint": fingerprint, "pca": pca}


def catalog_rows(*, own_labels: bool, splits: bool, columns: Sequence[pa.Field]) -> pa.Schema:
    """The schema of a catalog whose photos have other labels than their source's own, splits, or columns that are kept.

    These are together in one column, as their names are free.
    """
    schema = CATALOG
    if own_labels:
        schema = schema.append(pa.field("own_label", pa.string(), nullable=False))
    if splits:
        schema = schema.append(pa.field("split", pa.string(), nullable=False))
    return schema.append(pa.field("columns", pa.struct(columns), nullable=False)) if columns else schema


def result_rows(catalog: pa.Schema) -> pa.Schema:
    """The schema of the results of a catalog's photos: a split and the kept columns are behind the three of RESULTS."""
    schema = RESULTS
    if "split" in catalog.names:
        schema = schema.append(catalog.field("split"))
    for column in catalog.field("columns").type if "columns" in catalog.names else ():
        schema = schema.append(column)
    return schema


def feature_rows(width: int) -> pa.Schema:
    """The schema of features of `width` values. `label` is the source's own, whatever labels a run has."""
    return _schema(("path", pa.string()), ("label", pa.string()), ("features", pa.list_(pa.float32(), width)))


METADATA_KEY = b"fruit-features"
SEAL_KEY = b"fruit-features.seal"


def to_parquet(table: pa.Table, metadata: dict[str, Any] | None = None, *, seal: str | None = None) -> bytes:
    """The table as one parquet file with one row group.

    `metadata`: JSON-able facts stored in the footer, read back by `metadata_of`. `seal`: text for the footer, see
    `engines.core.proof.seal`; the pages then have checksums too, for readers that know nothing of seals. Equal
    arguments give equal bytes with one version of pyarrow.
    """
    facts = None if metadata is None else {METADATA_KEY: json.dumps(metadata, sort_keys=True).encode()}
    table = table.replace_schema_metadata(facts)  # a table that was read has those of its file, and its seal
    dictionary = [field.name for field in table.schema if pa.types.is_string(field.type)]
    sink = io.BytesIO()
    with pq.ParquetWriter(
        sink,
        table.schema,
        compression="zstd",
        compression_level=1,
        use_dictionary=dictionary,
        write_page_checksum=seal is not None,
    ) as writer:
        writer.write_table(table, row_group_size=max(1, table.num_rows))
        if seal is not None:
            writer.add_key_value_metadata({SEAL_KEY.decode(): seal})
    return sink.getvalue()


def from_parquet(content: bytes, columns: list[str] | None = None) -> pa.Table:
    """The inverse of `to_parquet`."""
    # Not by read_table: threads of Arrow that still end while the process does abort it, once in ten times.
    with pq.ParquetFile(pa.BufferReader(content), pre_buffer=False) as file:
        return file.read(columns=columns, use_threads=False)


def to_lists(matrix: npt.NDArray[np.float32], kind: pa.DataType) -> pa.Array:
    """float32[n, d] as a column of n lists of d values, of the list type `kind`."""
    return pa.FixedSizeListArray.from_arrays(matrix.ravel(), matrix.shape[1]).cast(kind)


def to_matrix(column: pa.ChunkedArray) -> npt.NDArray[np.float32]:
    """The inverse of `to_lists`, for fixed or variable lists of one length: float32[n, d] (d is 0 without rows)."""
    lists = column.combine_chunks()
    values: npt.NDArray[np.float32] = lists.flatten().to_numpy()
    width = lists.type.list_size if pa.types.is_fixed_size_list(lists.type) else len(values) // max(1, len(lists))
    return values.reshape(len(lists), width)


def metadata_of(schema: pa.Schema) -> dict[str, Any]:
    """The facts given to `to_parquet`. Raises KeyError for a file that carries none."""
    facts: dict[str, Any] = json.loads((schema.metadata or {})[METADATA_KEY])
    return facts
