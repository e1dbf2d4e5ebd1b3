"""Published results in other formats: the same rows, the same bits, read by what those formats are for."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from engines.core import tables
from engines.core.errors import InputError
from engines.core.layout import check_folder, layout_key
from engines.core.output import read_record
from engines.published.export import FORMATS, export
from flows.options.use import EXPORT_FORMATS
from tests.command_line import GOOD, CommandLine
from tests.published import check_run


@pytest.fixture(scope="module")
def results(published: Path) -> pa.Table:
    return ds.dataset(published / read_record(str(published)).results, format="parquet").to_table()


def vectors(table: pa.Table) -> np.ndarray:
    return tables.to_matrix(table["pcaFeatures"])


def test_the_formats_that_are_offered_are_those_there_are() -> None:
    assert tuple(FORMATS) == EXPORT_FORMATS


def test_npy_is_a_matrix_and_its_rows(published: Path, results: pa.Table, tmp_path: Path) -> None:
    export(str(published), "npy", str(tmp_path / "out"))
    matrix = np.load(tmp_path / "out" / "vectors.npy", mmap_mode="r")
    rows = pq.read_table(tmp_path / "out" / "rows.parquet")
    assert matrix.tobytes() == vectors(results).tobytes()
    assert rows.equals(results.drop_columns(["pcaFeatures"]).replace_schema_metadata(None))
    assert '"metric": "euclidean"' in (tmp_path / "out" / "vectors.json").read_text()


def test_csv_has_the_same_numbers_again(
    fruits: CommandLine, published: Path, results: pa.Table, tmp_path: Path
) -> None:
    outcome = fruits("export", published, tmp_path / "out", "--to", "csv")
    assert (outcome.code, outcome.errors) == (0, "")
    assert outcome.printed == f"{GOOD} rows of 8 numbers as csv in {tmp_path / 'out'}"
    types = {f"pca_{number}": pa.float32() for number in range(1, 9)}
    table = pc.read_csv(tmp_path / "out" / "results.csv", convert_options=pc.ConvertOptions(column_types=types))
    assert table["path"].to_pylist() == results["path"].to_pylist()
    assert np.stack([table[name].to_numpy() for name in types], axis=1).tobytes() == vectors(results).tobytes()


def test_embedding_atlas_has_places_and_the_exact_neighbours(
    published: Path, results: pa.Table, tmp_path: Path
) -> None:
    export(str(published), "embedding-atlas", str(tmp_path / "out"))
    table = pq.read_table(tmp_path / "out" / "results.parquet")
    matrix = vectors(results).astype(np.float64)
    assert table["x"].to_numpy().tolist() == matrix[:, 0].tolist()
    distances = np.sqrt(((matrix[5] - matrix) ** 2).sum(axis=1))
    distances[5] = np.inf
    neighbours = table["neighbors"][5].as_py()
    assert neighbours["ids"] == np.argsort(distances, kind="stable")[:10].tolist()
    np.testing.assert_allclose(neighbours["distances"], np.sort(distances)[:10])


def test_embedding_atlas_has_the_map_of_a_check_where_there_is_one(published: Path, tmp_path: Path) -> None:
    output = shutil.copytree(published, tmp_path / "output")
    check = check_run(output).check
    export(str(output), "embedding-atlas", str(tmp_path / "out"))
    table = pq.read_table(tmp_path / "out" / "results.parquet")
    drawn = pq.read_table(output / layout_key(check_folder(check))).sort_by("path")
    assert table.schema.metadata[b"map"] == b"neighbours stay neighbours"
    assert table["path"].to_pylist() == drawn["path"].to_pylist()
    for name in ("x", "y"):
        assert table[name].to_numpy().tobytes() == drawn[name].to_numpy().tobytes()


def documented(name: str) -> str:
    """The command of this program that the README documents."""
    blocks = re.findall(r"```(?:sql|console)\n(.*?)```", Path("README.md").read_text(), re.DOTALL)
    (block,) = (block for block in blocks if name in block)
    return block


def test_duckdb_finds_the_nearest_photos_as_the_readme_says(published: Path, results: pa.Table) -> None:
    query = documented("read_parquet").replace(
        "features/results/VERSION", str(published / read_record(str(published)).results)
    )
    query = query.replace("FLOAT[128]", "FLOAT[8]").replace("PHOTO", results["path"][7].as_py())
    found = duckdb.sql(query).fetchall()
    matrix = vectors(results).astype(np.float64)
    expected = np.argsort(((matrix - matrix[7]) ** 2).sum(axis=1), kind="stable")[:5]
    assert [row[0] for row in found] == [results["path"][row].as_py() for row in expected.tolist()]


def test_results_of_several_parts_with_an_empty_one_are_whole(published: Path, tmp_path: Path) -> None:
    record = read_record(str(published))
    assert len(record.parts) > 1
    for form in ("npy", "csv"):
        assert export(str(published), form, str(tmp_path / form)).rows == GOOD


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("full", "is not empty"),
        ("s3://bucket/out", "is not on this machine"),
        ("/proc/nowhere/out", "cannot be written"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused(published: Path, tmp_path: Path, place: str, message: str) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match=message):
        export(str(published), "csv", place if "/" in place else str(tmp_path / place))
    assert [path.name for path in tmp_path.iterdir()] == ["full"]
    assert (tmp_path / "full" / "mine.txt").read_text() == "mine"


def test_what_fails_leaves_nothing(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FORMATS, "npy", lambda *_: 1 / 0)  # type: ignore[arg-type]
    with pytest.raises(ZeroDivisionError):
        export(str(published), "npy", str(tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_format_is_refused(fruits: CommandLine, published: Path, tmp_path: Path) -> None:
    fruits("export", published, tmp_path / "out", "--to", "xlsx").assert_refused("no format 'xlsx'", "huggingface, npy")


@pytest.mark.parametrize(("form", "package"), [("lance", "lance"), ("usearch", "usearch.index")])
def test_a_missing_package_is_named(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, package: str
) -> None:
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(InputError, match="which is not installed") as raised:
        export(str(published), form, str(tmp_path / "out"))
    assert raised.value.hint == "Install fruit-features[export]."
