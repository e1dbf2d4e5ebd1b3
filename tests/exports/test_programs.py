"""What `fruits export` writes, read by the programs it is written for. Some are large: `make test-exports`."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from engines.core import tables
from engines.core.neighbours import nearest
from engines.core.networks.model import Model
from engines.core.output import read_record
from engines.published.export import export
from tests.conftest import write_photos
from tests.published import publish_run

K = 16


@pytest.fixture(scope="module")
def published(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    publish_run(write_photos(folder / "photos", images=120, classes=8), folder / "output", model, components=K)
    return folder / "output"


@pytest.fixture(scope="module")
def results(published: Path) -> pa.Table:
    return ds.dataset(published / read_record(str(published)).results, format="parquet").to_table()


@pytest.fixture(scope="module")
def vectors(results: pa.Table) -> np.ndarray:
    return tables.to_matrix(results["pcaFeatures"])


def test_datasets_loads_the_folder_with_vectors_of_fixed_length(
    published: Path, results: pa.Table, vectors: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    datasets = pytest.importorskip("datasets")
    export(str(published), "huggingface", str(tmp_path / "out"))
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert list(loaded) == ["train"]
    assert loaded["train"].features["pcaFeatures"].length == K
    assert loaded["train"]["path"][:] == results["path"].to_pylist()
    values = np.array(loaded["train"].with_format("numpy")["pcaFeatures"][:], np.float32)
    assert values.tobytes() == vectors.tobytes()
    assert "120 images of 8 classes" in (tmp_path / "out" / "README.md").read_text()


def test_lance_finds_the_nearest(published: Path, results: pa.Table, vectors: np.ndarray, tmp_path: Path) -> None:
    lance = pytest.importorskip("lance")
    export(str(published), "lance", str(tmp_path / "out"))
    dataset = lance.dataset(str(tmp_path / "out" / "results.lance"))
    assert dataset.count_rows() == len(vectors)
    assert dataset.schema.field("pcaFeatures").type == pa.list_(pa.float32(), K)
    assert dataset.schema.metadata[b"metric"] == b"euclidean"
    found = dataset.to_table(nearest={"column": "pcaFeatures", "q": vectors[9], "k": 5})
    expected = nearest(vectors[9:10], vectors, 5).rows[0]
    assert found["path"].to_pylist() == [results["path"][row].as_py() for row in expected.tolist()]


def test_usearch_finds_the_nearest(published: Path, results: pa.Table, vectors: np.ndarray, tmp_path: Path) -> None:
    index_module = pytest.importorskip("usearch.index")
    export(str(published), "usearch", str(tmp_path / "out"))
    index = index_module.Index.restore(str(tmp_path / "out" / "index.usearch"))
    rows = pq.read_table(tmp_path / "out" / "rows.parquet")
    assert len(index) == rows.num_rows == len(vectors)
    found = index.search(vectors[9], 5, exact=True)
    expected = nearest(vectors[9:10], vectors, 5)
    assert found.keys.tolist() == expected.rows[0].tolist()
    np.testing.assert_allclose(np.sqrt(found.distances), expected.distances[0], rtol=1e-5)
    assert rows["path"].to_pylist() == results["path"].to_pylist()


def test_embedding_atlas_takes_the_columns(published: Path, vectors: np.ndarray, tmp_path: Path) -> None:
    """What its own loader does: DuckDB reads the table, and `neighbors` is a struct of ids and distances."""
    duckdb = pytest.importorskip("duckdb")
    export(str(published), "embedding-atlas", str(tmp_path / "out"))
    table = str(tmp_path / "out" / "results.parquet")
    query = "SELECT x, y, neighbors.ids, neighbors.distances FROM read_parquet(?) LIMIT 1"
    x, y, ids, distances = duckdb.connect().execute(query, [table]).fetchone()
    assert (x, y) == tuple(vectors[0, :2].tolist())
    assert len(ids) == len(distances) == 10


def test_postgresql_with_pgvector_finds_the_nearest_as_the_readme_says(
    published: Path, results: pa.Table, vectors: np.ndarray, tmp_path: Path
) -> None:
    pgserver = pytest.importorskip("pgserver", reason="no PostgreSQL with pgvector: pgserver is not installed")
    duckdb = pytest.importorskip("duckdb")
    readme = Path("README.md").read_text()
    (block,) = (block for block in re.findall(r"```console\n(.*?)```", readme, re.DOTALL) if "pgvector" in block)
    block = block.replace("features/results/VERSION", str(published / read_record(str(published)).results))
    block = block.replace("photos.csv", str(tmp_path / "photos.csv"))
    block = block.replace("vector(128)", f"vector({K})").replace("PHOTO", results["path"][9].as_py())
    server = pgserver.get_server(tmp_path / "data", cleanup_mode="stop")
    try:
        answers = []
        for program, command in re.findall(r'^(duckdb|psql) -c "([^"]*)"', block, re.MULTILINE):
            if program == "duckdb":
                duckdb.connect().execute(command)
                (tmp_path / "photos.csv").chmod(0o644)
            else:
                answers.append(server.psql(command))
    finally:
        server.cleanup()
    expected = nearest(vectors[9:10], vectors, 5).rows[0]
    lines = [line.split("|")[0].strip() for line in answers[-1].splitlines()]
    assert [line for line in lines if line.endswith(".jpg")] == [
        results["path"][row].as_py() for row in expected.tolist()
    ]
