"""`fruits ls`: what a run would take, before anything is computed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from engines.core.errors import InputError
from flows.chain import run_chain
from flows.cli import app
from tests.unit.test_catalog import make

NAMES = [
    *(f"Training/{label}/{view}.jpg" for label in ("Apple", "Fig") for view in range(3)),
    "Test/Apple/1.PNG",
    "Test/[odd]/2.jpg",
    "Test/Fig/._1.jpg",
    "Test/Fig/3.heic",
    "notes.txt",
]


def ls(*arguments: str | Path) -> str:
    outcome = CliRunner().invoke(app, ["ls", *map(str, arguments)])
    if outcome.exception is not None and not isinstance(outcome.exception, SystemExit):
        raise outcome.exception
    assert outcome.exit_code == 0
    return outcome.output


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return make(tmp_path / "source", *NAMES)


def test_photos_formats_splits_labels_and_what_is_left_out(source: Path) -> None:
    words = " ".join(ls(source, "--split-depth", "1").split())
    for expected in (
        f"{source} photos 8 0.0 MiB; 7 JPEG, 1 PNG",
        "splits 2 6 train, 2 test",
        "labels 3",
        "left out 3",
        "hidden 1 hidden files, or what systems leave beside photos; --hidden takes them: 1 ._*",
        "not_decoded 1 photos of formats that are not decoded: 1 .heic",
        "no_photo 1 no photos by their names: 1 .txt",
        "label photos train test Apple 4 3 1 Fig 3 3 0 [odd] 1 0 1",
        "Photos of formats that are not decoded are left out: 1 .heic.",
    ):
        assert expected in words, words
    assert set(source.parent.iterdir()) == {source}, "nothing was written"


def test_json_has_every_figure(source: Path) -> None:
    found = json.loads(ls(source, "--json", "--split-depth", "1", "--exclude", "Fig", "--hidden"))
    assert found == {
        "source": str(source),
        "photos": 5,
        "bytes": sum(len(name) for name in NAMES if name.endswith((".PNG", ".jpg")) and "Fig" not in name),
        "labels": {"Apple": 4, "[odd]": 1},
        "formats": {"JPEG": 4, "PNG": 1},
        "left_out": {"excluded": {"Fig": 5}, "no_photo": {"txt": 1}},
        "left_out_by_case": 0,
        "splits": {"train": 3, "test": 2},
        "labels_by_split": {"train": {"Apple": 3}, "test": {"Apple": 1, "[odd]": 1}},
        "remarks": [],
    }  # fmt: skip


def test_it_takes_what_a_run_takes(source: Path) -> None:
    """The options are those of a run: several globs, expressions, a sample."""
    assert json.loads(ls(source, "--json", "--glob", "*.PNG", "--glob", "*.txt"))["photos"] == 2
    options = ("--labels", "regex", "--label-regex", r"(?P<label>\d)\.")
    assert json.loads(ls(source, "--json", *options))["labels"] == {"1": 3, "2": 3, "0": 2}
    assert json.loads(ls(source, "--json", "--per-class", "1"))["photos"] == 3


def test_the_help_shows_how_groups_are_written() -> None:
    words = " ".join(CliRunner().invoke(app, ["ls", "--help"]).output.replace("│", " ").split())
    assert "(?P<label>...) is the label, (?P<split>...) the split" in words


def test_many_labels_are_summed_up(tmp_path: Path) -> None:
    source = make(tmp_path / "source", *(f"{number:03d}/1.jpg" for number in range(100)))
    assert "... and 60 more 60" in " ".join(ls(source).split())
    assert len(json.loads(ls(source, "--json"))["labels"]) == 100


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--glob", "*.xyz"), "none of the 11 files"),
        (("--labels", "metadata"), "there is no metadata"),
        (("--metadata", "/nowhere/labels.csv", "--labels", "metadata"), "/nowhere/labels.csv does not exist"),
        (("--metadata", "labels.xlsx", "--labels", "metadata"), "is no metadata file"),
        (("--labels", "regex"), "go together"),
        (("--per-class", "0"), "per-class cannot be 0"),
    ],
)
def test_what_cannot_be_is_said(source: Path, options: tuple[str, ...], words: str) -> None:
    with pytest.raises(InputError) as error:
        ls(source, *options)
    assert words in error.value.message


def test_a_missing_source_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        ls(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fit_split": "train"}, "there are no splits to fit to 'train'"),
        ({"metadata": "s.csv"}, "nothing is taken from the metadata"),
        ({"labels": "metadata", "metadata": "/nowhere.csv"}, "the metadata file /nowhere.csv does not exist"),
        ({"split_depth": 1, "fit_split": "val", "components": 1}, "there is no split 'validation' to fit to"),
        ({"split_depth": 1, "fit_split": "test", "components": 2}, "2 images are too few for 2 components"),
    ],
)
def test_a_run_refuses_it_before_anything_is_computed(source: Path, options: dict, words: str) -> None:
    with pytest.raises(InputError) as error:
        run_chain(str(source), str(source.parent / "output"), weights="random", **options)
    assert words in error.value.message
    assert error.value.hint
    assert not (source.parent / "output" / "features").exists()
