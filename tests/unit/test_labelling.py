"""Labels, splits and columns: from folders, expressions and metadata, and what is said when they do not fit."""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engines.core.errors import InputError
from engines.core.index.catalog import Catalog, read_shard_entries, write_catalog
from engines.core.index.labelling import Labelling, check_labelling
from engines.core.index.selection import Selection
from engines.core.sources import Entry, open_source
from tests.s3 import Aws
from tests.unit.test_catalog import make

FOUR = ["Training/Apple/1.jpg", "Training/Fig/2.jpg", "Test/Apple/3.jpg", "Test/Fig/4.jpg"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return make(tmp_path / "source", *FOUR)


def catalog_of(
    source: Path, selection: Selection | None = None, **labelling: object
) -> tuple[Catalog, dict[str, Entry]]:
    """The catalog of a source in an output beside it, and its entries by key."""
    output = str(source.parent / "output")
    catalog = write_catalog(str(source), output, selection or Selection(), Labelling(**labelling))  # type: ignore[arg-type]
    entries = [entry for shard in catalog.shards for entry in read_shard_entries(output, shard)]
    return catalog, {open_source(str(source)).key(entry.path): entry for entry in entries}


def labels(source: Path, **labelling: object) -> dict[str, str]:
    return {key: entry.label for key, entry in catalog_of(source, **labelling)[1].items()}


def splits(source: Path, **labelling: object) -> dict[str, str]:
    return {key: entry.split for key, entry in catalog_of(source, **labelling)[1].items()}


class TestFolders:
    @pytest.mark.parametrize(
        ("depth", "label"), [(1, "Training"), (2, "Apple"), (-1, "Apple"), (-2, "Training"), (None, "Apple")]
    )
    def test_labels_are_folders_of_any_depth(self, source: Path, depth: int | None, label: str) -> None:
        assert labels(source, label_depth=depth)["Training/Apple/1.jpg"] == label

    def test_photos_that_do_not_lie_that_deep_are_counted(self, source: Path) -> None:
        make(source, "Training/5.jpg")
        catalog, entries = catalog_of(source, label_depth=2)
        assert entries["Training/5.jpg"].label == ""
        assert catalog.remarks == ["1 of the 5 photos have no label: Training/5.jpg."]

    def test_a_depth_that_no_photo_has_is_an_error(self, source: Path) -> None:
        with pytest.raises(InputError, match="no photo has a label by --labels folder: photos are such as"):
            catalog_of(source, label_depth=3)

    def test_usual_names_of_splits_are_one(self, source: Path) -> None:
        make(source, "val/Apple/5.jpg", "test-multiple_fruits/6.jpg", "7.jpg")
        catalog, entries = catalog_of(source, split_depth=1)
        assert [entries[key].split for key in [*FOUR, "val/Apple/5.jpg", "test-multiple_fruits/6.jpg", "7.jpg"]] == [
            "train",
            "train",
            "test",
            "test",
            "validation",
            "test-multiple_fruits",
            "",
        ]
        assert {name: split.images for name, split in catalog.splits.items()} == {
            "": 1,
            "test": 2,
            "test-multiple_fruits": 1,
            "train": 2,
            "validation": 1,
        }

    def test_without_splits_there_is_no_column(self, source: Path) -> None:
        catalog, _ = catalog_of(source)
        assert (catalog.splits, catalog.columns, catalog.described) == ({}, [], "")


class TestExpressions:
    def test_named_groups_are_label_and_split(self, tmp_path: Path) -> None:
        source = make(tmp_path / "source", "apple_01_train.jpg", "x/fig_02_val.jpg")
        _, entries = catalog_of(source, labels="regex", label_regex=r"(?P<label>[a-z]+)_\d+_(?P<split>\w+)")
        assert [(entry.label, entry.split) for entry in entries.values()] == [("apple", "train"), ("fig", "validation")]

    def test_photos_that_do_not_match_are_counted(self, tmp_path: Path) -> None:
        source = make(tmp_path / "source", "apple_1.jpg", "b.jpg", "c.jpg")
        catalog, entries = catalog_of(source, labels="regex", label_regex=r"(?P<label>[a-z]+)_\d")
        assert [entry.label for entry in entries.values()] == ["apple", "", ""]
        assert catalog.remarks == ["2 of the 3 photos have no label: b.jpg, c.jpg."]

    def test_one_that_matches_nothing_is_an_error(self, source: Path) -> None:
        with pytest.raises(InputError, match=r"no photo has a label .* such as Test/Apple/3.jpg") as error:
            catalog_of(source, labels="regex", label_regex=r"(?P<label>\d{9})")
        assert r"(?P<label>\\d{9})" in error.value.hint


@pytest.mark.parametrize(
    ("labelling", "words"),
    [
        ({"labels": "color"}, "unknown --labels 'color'"),
        ({"labels": "regex"}, "--labels regex and --label-regex go together"),
        ({"label_regex": "(?P<label>a)"}, "--labels regex and --label-regex go together"),
        ({"labels": "regex", "label_regex": "(?P<label>"}, "is no regular expression"),
        ({"labels": "regex", "label_regex": "a(b)"}, "has no group named label"),
        ({"label_depth": 0}, "--label-depth cannot be 0"),
        ({"split_depth": 0}, "--split-depth cannot be 0"),
        ({"labels": "metadata", "label_depth": 1}, "--label-depth is not for --labels metadata"),
        ({"split_depth": 1, "split_column": "split"}, "splits come from more than one place"),
        ({"keep_columns": ("path",)}, "--keep-columns cannot keep 'path'"),
        ({"metadata": "labels.csv"}, "nothing is taken from the metadata"),
    ],
)
def test_what_contradicts_itself_is_said_at_once(labelling: dict, words: str) -> None:
    with pytest.raises(InputError) as error:
        check_labelling(Labelling(**labelling))
    assert words in error.value.message
    assert error.value.hint


ROWS = [
    {"file_name": "Training/Apple/1.jpg", "label": "007", "weight": 1.5, "split": "train"},
    {"file_name": "Training/Fig/2.jpg", "label": "fig", "weight": None, "split": "train"},
    {"file_name": "./Test/Apple/3.jpg", "label": "a, b", "weight": 3.0, "split": "dev"},
    {"file_name": "Test/Fig/4.jpg", "label": "fig", "weight": 4.0, "split": "other"},
]


def as_csv(rows: list[dict]) -> bytes:
    sink = io.StringIO()
    writer = csv.DictWriter(sink, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return sink.getvalue().encode()


def as_jsonl(rows: list[dict]) -> bytes:
    return "\n".join(json.dumps(row) for row in rows).encode()


def as_parquet(rows: list[dict]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


WRITERS = {"csv": as_csv, "jsonl": as_jsonl, "parquet": as_parquet}


class TestMetadata:
    @pytest.mark.parametrize("kind", WRITERS)
    def test_labels_splits_and_columns_of_a_file_beside_the_photos(self, source: Path, kind: str) -> None:
        (source / f"metadata.{kind}").write_bytes(WRITERS[kind](ROWS))
        catalog, entries = catalog_of(source, labels="metadata", split_column="split", keep_columns=("weight",))
        assert {key: (entry.label, entry.split, entry.columns["weight"]) for key, entry in entries.items()} == {
            "Training/Apple/1.jpg": ("007", "train", 1.5),
            "Training/Fig/2.jpg": ("fig", "train", None),
            "Test/Apple/3.jpg": ("a, b", "validation", 3.0),
            "Test/Fig/4.jpg": ("fig", "other", 4.0),
        }
        assert {entry.own_label for entry in entries.values()} == {"Apple", "Fig"}
        assert (catalog.labels, catalog.columns, catalog.remarks) == (3, ["weight"], [])

    def test_files_in_folders_are_of_the_photos_below(self, source: Path) -> None:
        (source / "Training" / "metadata.csv").write_text("file_name,label\nApple/1.jpg,a\nFig/2.jpg,b\n")
        (source / "Test" / "metadata.jsonl").write_bytes(
            as_jsonl([{"file_name": "Apple/3.jpg", "label": 3}, {"file_name": "Fig/4.jpg", "label": None}])
        )
        catalog, entries = catalog_of(source, labels="metadata")
        assert [entries[key].label for key in FOUR] == ["a", "b", "3", ""]
        assert catalog.remarks == ["1 of the 4 photos have no label: Test/Fig/4.jpg."]

    def test_a_file_elsewhere_is_relative_to_the_source(self, source: Path, tmp_path: Path) -> None:
        (tmp_path / "labels.csv").write_bytes(as_csv(ROWS))
        assert labels(source, labels="metadata", metadata=str(tmp_path / "labels.csv"))["Test/Apple/3.jpg"] == "a, b"

    def test_it_is_read_from_s3(self, tmp_path: Path, aws: Aws, bucket: str) -> None:
        aws.put(bucket, {f"photos/{key}": b"x" for key in FOUR} | {"photos/metadata.jsonl": as_jsonl(ROWS)})
        aws.put(bucket, {"tables/other.csv": as_csv([{**row, "label": "other"} for row in ROWS])})
        for metadata, expected in ((None, {"007", "fig", "a, b"}), (f"s3://{bucket}/tables/other.csv", {"other"})):
            labelling = Labelling("metadata", metadata=metadata)
            catalog = write_catalog(f"s3://{bucket}/photos", str(tmp_path / "output"), Selection(), labelling)
            (shard,) = catalog.shards
            assert {entry.label for entry in read_shard_entries(str(tmp_path / "output"), shard)} == expected

    def test_labels_stay_folders_where_columns_are_kept_only(self, source: Path) -> None:
        (source / "metadata.csv").write_bytes(as_csv(ROWS))
        catalog, entries = catalog_of(source, keep_columns=("weight", "file_name"))
        assert entries["Training/Apple/1.jpg"].label == "Apple"
        assert entries["Training/Apple/1.jpg"].columns == {"weight": 1.5, "file_name": "Training/Apple/1.jpg"}
        assert catalog.described

    def test_per_class_and_a_glob_go_by_the_labels(self, source: Path) -> None:
        (source / "metadata.csv").write_bytes(as_csv(ROWS))
        catalog, entries = catalog_of(source, Selection(glob="*/Fig/*", per_class=1), labels="metadata")
        assert (len(entries), catalog.remarks) == (1, [])

    def test_rows_and_photos_without_each_other_are_counted_and_named(self, source: Path) -> None:
        rows = [*ROWS[:2], {**ROWS[2], "file_name": "gone.jpg"}, {**ROWS[3], "file_name": "far/gone.jpg"}]
        (source / "metadata.csv").write_bytes(as_csv(rows))
        catalog, entries = catalog_of(source, labels="metadata")
        assert entries["Test/Fig/4.jpg"].label == ""
        assert catalog.remarks == [
            "2 of the 4 rows of the metadata are of no file, such as gone.jpg, far/gone.jpg.",
            "2 of the 4 photos have no row in the metadata: Test/Apple/3.jpg, Test/Fig/4.jpg.",
        ]

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            ("file_name,label\nApple/1.jpg,a\n", "no photo has a row in the metadata: photos are such as Test/Apple"),
            ("file_name,label\nTest/Apple/3.jpg,a\nTest/Apple/3.jpg,b\n", "a second row for Test/Apple/3.jpg, row 2"),
            ("file_name,label\nTest/Apple/3.jpg,a\n./Test/Apple/3.jpg,a\n", "a second row for Test/Apple/3.jpg"),
            ("file_name,label\n,a\n", "has no file_name in row 1"),
            ("file_name,kind\nTest/Apple/3.jpg,a\n", "has no column 'label'"),
            ("name;label\nTest/Apple/3.jpg;a\n", "has no column 'file_name', 'label'"),
            ("file_name,label\nTest/Apple/3.jpg\n", "cannot be read"),
            ("", "cannot be read"),
        ],
    )  # fmt: skip
    def test_files_that_do_not_fit_are_clear_errors(self, source: Path, content: str, words: str) -> None:
        (source / "metadata.csv").write_text(content)
        with pytest.raises(InputError) as error:
            catalog_of(source, labels="metadata")
        assert words in error.value.message
        assert error.value.hint

    @pytest.mark.parametrize("content", [b'{"file_name": 1', b"[1]", b"\xff\xfe"])
    def test_lines_that_are_no_objects_are_clear_errors(self, source: Path, content: bytes) -> None:
        (source / "metadata.jsonl").write_bytes(as_jsonl(ROWS) + b"\n" + content)
        with pytest.raises(InputError, match=r"metadata.jsonl cannot be read"):
            catalog_of(source, labels="metadata")

    def test_no_metadata_is_a_clear_error(self, source: Path) -> None:
        with pytest.raises(InputError, match=r"there is no metadata below .* to take 'label' from") as error:
            catalog_of(source, labels="metadata")
        assert "--metadata" in error.value.hint

    @pytest.mark.parametrize(("on_disk", "in_table"), [("NFD", "NFC"), ("NFC", "NFD"), ("NFD", "NFD")])
    def test_accents_are_found_however_they_are_written(self, tmp_path: Path, on_disk: str, in_table: str) -> None:
        name = "pêche mûre/é.jpg"
        source = make(tmp_path / "source", unicodedata.normalize(on_disk, name), "a/1.jpg")
        rows = [{"file_name": unicodedata.normalize(in_table, name), "label": "peach"}]
        (source / "metadata.csv").write_bytes(as_csv(rows))
        assert sorted(labels(source, labels="metadata").values()) == ["", "peach"]

    @pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
    def test_a_table_as_spreadsheets_write_it(self, source: Path, start: bytes) -> None:
        (source / "metadata.csv").write_bytes(start + as_csv(ROWS).replace(b"\n", b"\r\n").replace(b"\r\r", b"\r"))
        assert labels(source, labels="metadata")["Test/Apple/3.jpg"] == "a, b"

    def test_a_table_that_is_not_utf8_is_a_clear_error(self, source: Path) -> None:
        (source / "metadata.csv").write_bytes("file_name,label\nTest/Apple/3.jpg,pêche\n".encode("latin-1"))
        with pytest.raises(InputError, match=r"metadata\.csv cannot be read"):
            catalog_of(source, labels="metadata")

    def test_two_files_of_one_folder_are_a_clear_error(self, source: Path) -> None:
        (source / "metadata.csv").write_bytes(as_csv(ROWS))
        (source / "metadata.jsonl").write_bytes(as_jsonl(ROWS))
        with pytest.raises(InputError, match="are metadata of the same photos"):
            catalog_of(source, labels="metadata")

    def test_columns_of_different_types_are_a_clear_error(self, source: Path) -> None:
        (source / "Training" / "metadata.jsonl").write_bytes(as_jsonl([{"file_name": "Apple/1.jpg", "size": [1]}]))
        (source / "Test" / "metadata.jsonl").write_bytes(as_jsonl([{"file_name": "Fig/4.jpg", "size": "x"}]))
        with pytest.raises(InputError, match="are of different types"):
            catalog_of(source, keep_columns=("size",))


class TestIdentity:
    """Shards are what is computed: no label has a part in them. What is said of photos has a name of its own."""

    def test_other_labels_are_another_catalog_of_the_same_shards(self, source: Path) -> None:
        folders, _ = catalog_of(source)
        (source / "metadata.csv").write_bytes(as_csv(ROWS))
        metadata, _ = catalog_of(source, labels="metadata")
        (source / "metadata.csv").write_bytes(as_csv([{**ROWS[0], "label": "8"}, *ROWS[1:]]))
        changed, _ = catalog_of(source, labels="metadata")
        ids = [[shard.id for shard in catalog.shards] for catalog in (folders, metadata, changed)]
        assert ids[0] == ids[1] == ids[2]
        assert len({catalog.version for catalog in (folders, metadata, changed)}) == 3
        assert len({catalog.described for catalog in (folders, metadata, changed)}) == 3

    def test_a_split_is_known_by_its_photos(self, source: Path) -> None:
        by_folder = catalog_of(source, split_depth=1)[0].splits
        (source / "metadata.csv").write_bytes(as_csv(ROWS))
        by_column = catalog_of(source, split_column="split")[0].splits
        assert by_column["train"] == by_folder["train"]
        make(source, "Training/Fig/5.jpg")
        assert catalog_of(source, split_depth=1)[0].splits["train"].digest != by_folder["train"].digest
