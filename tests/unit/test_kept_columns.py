"""What is said of photos travels into the results, with its types, and parity looks at it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from engines.core.compare.outputs import compare
from engines.core.networks.model import Model
from engines.core.output import read_record
from tests.published import publish_run


@pytest.fixture(scope="module")
def metadata(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of every second photo: a label, a weight, and a list; the others have no row."""
    names = sorted(str(path.relative_to(photos)) for path in photos.rglob("00[01].jpg"))
    rows = [
        {"file_name": name, "label": f"L{number % 3}", "weight": number / 2, "forms": ["a", "b"]}
        for number, name in enumerate(names)
    ]
    path = tmp_path_factory.mktemp("metadata") / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows[1::2])))
    return path


@pytest.fixture(scope="module")
def outputs(photos: Path, metadata: Path, model: Model, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same photos: by folders; then with kept columns; and, computed anew, with labels of the metadata besides."""
    folder = tmp_path_factory.mktemp("kept")
    keep = {"metadata": str(metadata), "keep_columns": ["weight", "forms"]}
    options: dict[str, dict] = {"folders": {}, "columns": keep, "labels": {**keep, "labels": "metadata"}}
    for name, more in options.items():
        if name == "columns":
            shutil.copytree(folder / "folders", folder / name)
        publish_run(photos, folder / name, model, components=4, glob=["00[01].jpg"], **more)
    return {name: folder / name for name in options}


def results(output: Path) -> pa.Table:
    return ds.dataset(output / read_record(str(output)).results, format="parquet").to_table().sort_by("path")


def test_columns_are_behind_the_three_with_the_types_of_the_metadata(outputs: dict[str, Path]) -> None:
    table = results(outputs["columns"])
    assert table.schema.names == ["path", "label", "pcaFeatures", "weight", "forms"]
    assert table.schema.field("weight").type == pa.float64()
    assert table.schema.field("forms").type == pa.list_(pa.string())
    assert table["weight"].null_count == len(table) // 2
    assert table["forms"].drop_null().to_pylist() == [["a", "b"]] * (len(table) // 2)
    assert table.select(["path", "label", "pcaFeatures"]).equals(results(outputs["folders"]))


def test_labels_are_those_of_the_metadata_and_empty_without_a_row(outputs: dict[str, Path]) -> None:
    labels = results(outputs["labels"])["label"].to_pylist()
    assert sorted(set(labels)) == ["", "L0", "L1", "L2"]
    assert labels.count("") == len(labels) // 2


def test_features_are_the_same_files_whatever_is_said_of_the_photos(outputs: dict[str, Path]) -> None:
    files = [{path.name: path.read_bytes() for path in (output / "features").iterdir()} for output in outputs.values()]
    assert files[0] == files[1] == files[2]


def test_parity_looks_at_labels_and_columns(outputs: dict[str, Path]) -> None:
    assert compare(str(outputs["columns"]), str(outputs["columns"])).verdict == "identical"
    (reason,) = compare(str(outputs["folders"]), str(outputs["columns"])).reasons
    assert reason == "results: one of them only has the columns forms, weight"
    (reason,) = compare(str(outputs["labels"]), str(outputs["columns"])).reasons
    assert reason.startswith("results: 20 other labels, splits or columns (such as ")
