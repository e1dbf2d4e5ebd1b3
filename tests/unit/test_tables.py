"""Tables: fixed schemas, equal rows as equal bytes, readable by anyone."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.core import tables
from engines.core.networks.mobilenet_v2 import MOBILENET_V2
from engines.core.proof.reading import sealed_table

STRINGS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


def results(paths: list[str], values: np.ndarray) -> pa.Table:
    lists = tables.to_lists(values, tables.RESULTS.field("pcaFeatures").type)
    return pa.table([paths, [""] * len(paths), lists], schema=tables.RESULTS)


@given(st.lists(st.tuples(STRINGS, STRINGS, STRINGS, STRINGS), max_size=5))
def test_rows_survive_and_equal_rows_are_equal_bytes(rows: list[tuple[str, ...]]) -> None:
    def table() -> pa.Table:
        columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], [], []]
        return pa.table(columns, schema=tables.REJECTS)

    content = tables.to_parquet(table(), {"rows": len(rows)})
    assert tables.to_parquet(table(), {"rows": len(rows)}) == content
    back = tables.from_parquet(content)
    assert back.to_pylist() == table().to_pylist()
    assert back.schema.equals(tables.REJECTS)
    assert tables.metadata_of(pq.read_schema(io.BytesIO(content))) == {"rows": len(rows)}


@pytest.mark.parametrize("rows", [0, 1, 5])
@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.list_(pa.float32(), 3)])
def test_matrices_survive(rows: int, kind: pa.DataType) -> None:
    matrix = np.arange(3 * rows, dtype=np.float32).reshape(rows, 3)
    column = pa.chunked_array([tables.to_lists(matrix, kind)])
    assert column.type == kind
    back = tables.to_matrix(column)
    np.testing.assert_array_equal(back, matrix if rows or pa.types.is_fixed_size_list(kind) else matrix.reshape(0, 0))


def test_a_slice_of_a_table_gives_its_own_rows() -> None:
    matrix = np.arange(12, dtype=np.float32).reshape(4, 3)
    table = results(["a", "b", "c", "d"], matrix).slice(1, 2)
    np.testing.assert_array_equal(tables.to_matrix(table["pcaFeatures"]), matrix[1:3])


def test_results_are_what_other_programs_read(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("results")
    path = folder / "part-0.parquet"
    path.write_bytes(tables.to_parquet(results(["/photos/é 🍓.jpg"], np.array([[1.5, -2.5]], np.float32))))
    frame = pd.read_parquet(folder)
    assert list(frame.columns) == ["path", "label", "pcaFeatures"]
    assert frame["path"].tolist() == ["/photos/é 🍓.jpg"]
    assert frame["pcaFeatures"][0].tolist() == [1.5, -2.5]
    assert frame["pcaFeatures"][0].dtype == np.float32


@pytest.mark.parametrize(
    "schema",
    [tables.CATALOG, tables.feature_rows(MOBILENET_V2.features), tables.REJECTS, tables.RESULTS, tables.SPECTRUM],
)
def test_no_column_may_be_null(schema: pa.Schema) -> None:
    assert not any(field.nullable for field in schema)


def test_a_table_that_was_read_is_written_without_the_facts_and_the_seal_of_its_file() -> None:
    table = results(["a"], np.ones((1, 2), np.float32))
    read = tables.from_parquet(sealed_table(table, "results/part.parquet", {"width": 2}))
    assert read.schema.metadata.keys() == {tables.METADATA_KEY, tables.SEAL_KEY}
    assert not tables.from_parquet(tables.to_parquet(read)).schema.metadata
    assert tables.from_parquet(tables.to_parquet(read, {})).schema.metadata.keys() == {tables.METADATA_KEY}


def test_a_file_without_facts_is_an_error() -> None:
    content = tables.to_parquet(results([], np.empty((0, 2), np.float32)))
    with pytest.raises(KeyError):
        tables.metadata_of(pq.read_schema(io.BytesIO(content)))
