"""The photos nearest to another one, and what they say it is."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from engines.core.errors import InputError
from engines.core.networks.model import Model
from engines.core.networks.prepare import prepare_model
from engines.core.output import read_record
from engines.published import load_model
from engines.published.rows import read_rows, similar
from flows.checks import cache_folder
from flows.commands.similar import similar as similar_command
from tests.command_line import GOOD, CommandLine
from tests.left_out import name_left_out
from tests.published import publish_run


@pytest.fixture(scope="module")
def photo(source: Path) -> Path:
    """A photo of the run."""
    return next(source.glob("Berry*/003.jpg"))


def test_the_nearest_photos_are_those_of_smallest_distance(fruits: CommandLine, published: Path, photo: Path) -> None:
    outcome = fruits("similar", photo, "--model", published, "-k", 7, "--json")
    assert (outcome.code, outcome.errors) == (0, "")
    said = json.loads(outcome.printed)
    rows = read_rows(str(published), read_record(str(published)))
    paths = rows.paths.to_pylist()
    assert len(rows) == GOOD
    distances = np.sqrt(((rows.values.astype(np.float64) - rows.values[paths.index(str(photo))]) ** 2).sum(axis=1))
    expected = [paths[row] for row in np.argsort(distances, kind="stable")[:7]]
    assert [neighbour["path"] for neighbour in said["neighbours"]] == expected
    np.testing.assert_allclose([neighbour["distance"] for neighbour in said["neighbours"]], sorted(distances)[:7])
    labels = [neighbour["label"] for neighbour in said["neighbours"]]
    assert labels == [Path(path).parent.name for path in expected]
    assert said["vote"]["share"] == labels.count(said["vote"]["label"]) / 7


def test_a_person_reads_the_vote_first(fruits: CommandLine, published: Path, photo: Path) -> None:
    outcome = fruits("similar", photo, "--model", published, "-k", 1)
    assert outcome.printed.startswith(f"{photo.parent.name} 1 of 1 neighbours 0.00 {photo.parent.name}")


def test_without_labels_there_is_no_vote(source: Path, photo: Path, model: Model, tmp_path: Path) -> None:
    (tmp_path / "flat").mkdir()
    for path in source.glob("*/00?.jpg"):
        shutil.copy(path, tmp_path / "flat" / f"{path.parent.name}-{path.name}")
    publish_run(tmp_path / "flat", tmp_path / "output", model, components=4)
    fitted = load_model(tmp_path / "output")
    found = similar(read_rows(fitted.output, fitted.record), fitted.vector(photo.read_bytes()), 3)
    assert found.vote is None
    assert found.neighbours[0].distance == 0
    assert [neighbour.label for neighbour in found.neighbours] == ["", "", ""]


def test_of_few_photos_all_are_near(published: Path, photo: Path) -> None:
    fitted = load_model(published)
    found = similar(read_rows(fitted.output, fitted.record), fitted.vector(photo.read_bytes()), 1000)
    assert len({neighbour.path for neighbour in found.neighbours}) == GOOD


def test_what_is_no_photo_is_refused(fruits: CommandLine, published: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("not a photo")
    fruits("similar", tmp_path / "notes.jpg", "--model", published).assert_refused(
        "is not a photo that can be decoded: no known image format", "JPEG, PNG"
    )


def test_what_cannot_be_looked_for_is_said(published: Path, source: Path, photo: Path) -> None:
    for place, k, message in (
        (source, 1, "is not a single photo"),
        (Path("nowhere.jpg"), 1, "does not exist"),
        (photo, 0, "k cannot be 0"),
    ):
        with pytest.raises(InputError, match=message):
            similar_command(photo=str(place), model=str(published), k=k)


def test_results_that_are_not_those_of_the_record_are_noticed(published: Path) -> None:
    record = read_record(str(published))
    first, *others = record.parts
    other = dataclasses.replace(record, parts=(dataclasses.replace(first, rows=first.rows + 1), *others))
    with pytest.raises(InputError, match=r"run\.json says"):
        read_rows(str(published), other)


def test_photos_left_out_of_a_run_are_named_rightly(real_photos: Path, real_weights: str, tmp_path: Path) -> None:
    """The small form of tests/accuracy: 40 real photos of 10 classes, 24 of each class to compare them with."""
    model = prepare_model(real_weights, "litert", cache_folder())
    named = name_left_out(real_photos, tmp_path, model, left_out=40, kept=24, classes=10)
    assert named.photos == 40
    assert named.accuracy >= 0.95
