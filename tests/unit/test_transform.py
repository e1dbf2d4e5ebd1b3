"""New photos through a published model: the bits the run gave, whatever asks for them, and rejects with a reason."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from engines.core import tables
from engines.core.errors import InputError, StorageError
from engines.core.networks.model import Canary, publish_canary, read_model
from engines.core.output import read_record
from engines.core.sources.files import Files
from engines.published import load_model
from flows.options.use import TransformSettings
from tests.command_line import BAD, GOOD, CommandLine
from tests.s3 import Aws


@pytest.fixture(scope="module")
def rows(published: Path) -> dict[str, np.ndarray]:
    """What the run gave for each photo."""
    table = ds.dataset(published / read_record(str(published)).results).to_table()
    return dict(zip(table["path"].to_pylist(), tables.to_matrix(table["pcaFeatures"]), strict=True))


@pytest.fixture(scope="module")
def rejects(published: Path) -> dict[str, tuple[str, str]]:
    table = ds.dataset(published / "rejects").to_table()
    columns = (table[name].to_pylist() for name in ("path", "reason", "detail"))
    return {path: (reason, detail) for path, reason, detail in zip(*columns, strict=True)}


@pytest.mark.parametrize("threads", [1, 5])
def test_every_photo_has_the_bits_of_the_run_and_every_reject_its_reason(
    published: Path, source: Path, rows: dict, rejects: dict, threads: int
) -> None:
    done = list(load_model(published).transform(source, threads=threads))
    assert [row.path for row in done] == sorted(rows.keys() | rejects.keys())
    assert (len(rows), len(rejects)) == (GOOD, BAD)
    for row in done:
        if row.path in rejects:
            assert row.values is None
            assert (row.reason, row.detail) == rejects[row.path]
        else:
            assert row.values.tobytes() == rows[row.path].tobytes()
            assert (row.label, row.reason) == (Path(row.path).parent.name, "")


def test_the_command_gives_the_same_rows_in_every_format(
    fruits: CommandLine, published: Path, source: Path, rows: dict, rejects: dict, tmp_path: Path
) -> None:
    for name in ("lines.jsonl", "table.csv", "table.parquet"):
        outcome = fruits("transform", source, "--model", published, "--file", tmp_path / name)
        assert (outcome.code, outcome.printed) == (0, "")
        assert f"{BAD} of {GOOD + BAD} files were rejected" in outcome.errors
    lines = [json.loads(line) for line in (tmp_path / "lines.jsonl").read_text().splitlines()]
    with (tmp_path / "table.csv").open(newline="") as file:
        cells = list(csv.DictReader(file))
    table = pq.read_table(tmp_path / "table.parquet")
    assert table.schema.equals(tables.TRANSFORMED)
    assert tables.metadata_of(table.schema)["metric"] == "euclidean"
    for plain, cell, row in zip(lines, cells, table.to_pylist(), strict=True):
        assert plain == {**row, "pcaFeatures": plain["pcaFeatures"]}
        assert (cell["path"], cell["label"]) == (row["path"], row["label"])
        if row["path"] in rejects:
            assert (cell["reason"], cell["detail"]) == (row["reason"], row["detail"]) == rejects[row["path"]]
            assert plain["pcaFeatures"] is row["pcaFeatures"] is None
            assert cell["pca_8"] == ""
        else:
            from_csv = [cell[f"pca_{number}"] for number in range(1, 9)]
            for values in (plain["pcaFeatures"], row["pcaFeatures"], from_csv):
                assert np.array(values, np.float32).tobytes() == rows[row["path"]].tobytes()


def test_several_places_are_done_in_their_order(published: Path, rows: dict) -> None:
    one, two = list(rows)[3:5]
    assert [row.path for row in load_model(published).transform([Path(two), one, two])] == [two, one, two]


def test_the_glob_is_that_of_the_run_or_another(published: Path, source: Path) -> None:
    names = [Path(row.path).name for row in load_model(published).transform(source, glob=["*.txt", "*.jpg"])]
    assert "notes.txt" in names
    assert len(names) == GOOD + BAD + 1


def test_labels_are_by_the_rule_of_the_run(published: Path, rows: dict, tmp_path: Path) -> None:
    photo = Path(next(iter(rows)))
    for name in ("Ripe/Plum/red_1.jpg", "Ripe/Fig/blue_2.jpg"):
        (tmp_path / name).parent.mkdir(parents=True)
        shutil.copy(photo, tmp_path / name)
    model = load_model(published)

    def labels(place: Path, **rule: object) -> list[str]:
        record = dataclasses.replace(model.record, parameters={**model.record.parameters, **rule})
        return [row.label for row in dataclasses.replace(model, record=record).transform(place)]

    by_name = {"labels": "regex", "label_regex": r"(?P<label>[a-z]+)_\d"}
    by_metadata = {"labels": "metadata", "label_column": "kind", "metadata": "/gone/labels.csv"}
    assert labels(tmp_path, label_depth=1) == ["Ripe", "Ripe"]
    assert labels(tmp_path, label_depth=-1) == ["Fig", "Plum"]
    assert labels(tmp_path, **by_name) == ["blue", "red"]
    assert labels(tmp_path / "Ripe/Plum/red_1.jpg", **by_name) == ["red"]
    assert labels(tmp_path, **by_metadata) == ["", ""]
    (tmp_path / "Ripe" / "metadata.csv").write_text("file_name,kind\nPlum/red_1.jpg,damson\n")
    assert labels(tmp_path, **by_metadata) == ["", "damson"]
    assert labels(tmp_path / "Ripe/Plum/red_1.jpg", **by_metadata) == [""]


def test_a_photo_of_any_name_may_be_named(published: Path, rows: dict, tmp_path: Path) -> None:
    path, values = next(iter(rows.items()))
    other = tmp_path / "straße #1?.bin"
    other.write_bytes(Path(path).read_bytes())
    (row,) = load_model(published).transform(other)
    assert (row.path, row.label, row.values.tobytes()) == (str(other), "", values.tobytes())


def test_photos_on_s3_are_named_by_their_url(published: Path, rows: dict, aws: Aws) -> None:
    aws.client().create_bucket(Bucket="new-photos")
    path, values = next(iter(rows.items()))
    aws.put("new-photos", {"in/Plum/a.jpg": Path(path).read_bytes(), "in/Plum/b.jpg": b"no photo", "in/c.txt": b""})
    model = load_model(published)
    (single,) = model.transform("s3://new-photos/in/Plum/a.jpg")
    assert (single.path, single.values.tobytes()) == ("s3://new-photos/in/Plum/a.jpg", values.tobytes())
    good, bad = model.transform("s3://new-photos/in")
    assert (good.label, good.values.tobytes(), bad.reason) == ("Plum", values.tobytes(), "not_an_image")
    with pytest.raises(InputError, match="nothing is stored below"):
        list(model.transform("s3://new-photos/nothing"))


def test_neither_tensorflow_nor_an_engine_nor_prefect_is_needed(published: Path, rows: dict) -> None:
    absent = ["tensorflow", "keras", "dask", "distributed", "pyspark", "prefect", "boto3"]
    path, values = next(iter(rows.items()))
    script = f"import sys; sys.modules.update(dict.fromkeys({absent})); from flows.start import main; main()"
    command = [sys.executable, "-c", script, "transform", path, "--model", published]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert np.array(json.loads(done.stdout)["pcaFeatures"], np.float32).tobytes() == values.tobytes()


def test_if_every_file_is_rejected_the_command_fails_and_the_rows_say_why(
    fruits: CommandLine, published: Path, tmp_path: Path
) -> None:
    (tmp_path / "text.jpg").write_text("not a photo")
    outcome = fruits("transform", tmp_path, "--model", published)
    assert outcome.code == 1
    assert json.loads(outcome.printed)["reason"] == "not_an_image"
    assert "error: none of the files is a photo that can be decoded" in outcome.errors
    assert "Traceback" not in outcome.errors


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["nowhere.jpg"], "nowhere.jpg does not exist", "Name a photo, a folder of photos, or a URL."),
        (["EMPTY"], "has no files", "Name the folder"),
        (["SOURCE", "--glob", "*.png"], "matches *.png", "Choose another --glob"),
        (["SOURCE", "--format", "parquet"], "parquet is not for standard output", "--file photos.parquet"),
        (["SOURCE", "--file", "rows.xls"], "there is no format 'xls'", "jsonl, csv, parquet"),
        (["SOURCE", "--file", "nowhere/rows.csv"], "nowhere/rows.csv cannot be written", "another place"),
        (["SOURCE", "--threads", "0"], "threads cannot be 0", "from 1"),
        (["SOURCE", "--arithmetic", "loose"], "arithmetic cannot be 'loose'", "exact, tolerant"),
        (["s3://key:secret@bucket/a.jpg"], "carries credentials", "AWS_PROFILE"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_done_is_said(
    published: Path, source: Path, tmp_path: Path, arguments: list[str], message: str, hint: str
) -> None:
    from flows.commands.transform import transform

    places = {"SOURCE": str(source), "EMPTY": str(tmp_path)}
    place, *options = (places.get(argument, argument) for argument in arguments)
    given = {name.lstrip("-"): value for name, value in zip(options[::2], options[1::2], strict=True)}
    if "threads" in given:
        given["threads"] = int(given["threads"])
    with pytest.raises(InputError) as raised:
        transform(photos=[place], model=str(published), **given)
    assert message in raised.value.message
    assert hint in raised.value.hint
    assert {field.name for field in dataclasses.fields(TransformSettings)} >= given.keys()


def test_an_output_without_results_is_refused(fruits: CommandLine, source: Path, tmp_path: Path) -> None:
    fruits("transform", source, "--model", tmp_path).assert_refused("has no published results", "Run `fruits run")


def test_a_cpu_of_other_bits_is_refused_unless_they_are_tolerated(
    source: Path, published: Path, model, tmp_path: Path
) -> None:
    copy = shutil.copytree(published, tmp_path / "copy")
    there = read_model(str(copy), read_record(str(copy)).model.fingerprint)
    publish_canary(dataclasses.replace(there, canary=Canary("0" * 64, "another CPU")), str(copy))
    with pytest.raises(InputError, match="computes other bits than another CPU"):
        load_model(copy)
    assert next(load_model(copy, arithmetic="tolerant").transform(source)).values is not None


def test_a_file_appears_when_it_is_whole_or_not_at_all(
    published: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.commands.transform import transform

    read = Files.read

    def lost(self: Files, entry) -> bytes:
        if entry.path.endswith("007.jpg"):
            raise StorageError("the disk is gone")
        return read(self, entry)

    (tmp_path / "rows.csv").write_text("of before")
    monkeypatch.setattr(Files, "read", lost)
    with pytest.raises(StorageError):
        transform(photos=[str(source)], model=str(published), file=str(tmp_path / "rows.csv"))
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]
    assert (tmp_path / "rows.csv").read_text() == "of before"
