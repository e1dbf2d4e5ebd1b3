"""A check finds what was planted: wrong labels, files that are there twice, test photos in the training part."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cleanlab.filter import find_label_issues
from cleanlab.outlier import OutOfDistribution
from scipy.stats import spearmanr

from engines.base import NeighboursRequest
from engines.core import tables
from engines.core.errors import InputError, QualityError
from engines.core.layout import check_folder, issues_key, layout_key
from engines.core.networks.model import Model
from engines.core.output import read_record
from engines.core.quality.assess import assess
from engines.core.quality.figures import Quality, latest_quality, read_quality
from engines.core.quality.found import read_nearest
from engines.core.quality.plan import Plan, make_plan
from flows.quality import check_accuracy
from tests.command_line import CommandLine
from tests.conftest import write_photos
from tests.parity.chain import SequentialEngine
from tests.planted import Found, Planted, flagged, plant, shares
from tests.published import publish_run


@dataclass(frozen=True)
class Checked:
    """A planted output, and what the check says of it."""

    planted: Planted
    output: Path
    plan: Plan
    issues: pa.Table
    quality: Quality

    @property
    def neighbours(self) -> np.ndarray:
        return read_nearest(self.plan, self.plan.everything)[1].rows


def checked(output: Path, split_depth: int | None = None) -> tuple[Plan, pa.Table, Quality]:
    """By the sequential engine."""
    plan = make_plan(str(output), split_depth)
    SequentialEngine().neighbours(NeighboursRequest(str(output), plan.version, split_depth))
    assessment = assess(plan)
    return plan, assessment.issues, assessment.quality


@pytest.fixture(scope="module")
def planted(real_photos: Path, real_weights: str, model: Model, tmp_path_factory: pytest.TempPathFactory) -> Checked:
    """Real photos: 400 of 10 classes, of which 8 have a wrong label and 12 are there twice."""
    folder = tmp_path_factory.mktemp("planted")
    made = plant(real_photos, folder / "photos", swapped=0.02, copies=12, classes=10, per_class=40)
    publish_run(made.source, folder / "output", model, components=32, shard_size=64)
    return Checked(made, folder / "output", *checked(folder / "output"))


def test_wrong_labels_are_found_with_the_right_one(planted: Checked) -> None:
    found = Found.of(flagged(planted.issues, "label"), set(planted.planted.swapped))
    assert found.recall >= 0.9
    assert found.precision >= 0.9
    said = dict(zip(planted.issues["path"].to_pylist(), planted.issues["predicted_label"].to_pylist(), strict=True))
    right = [said[path] == label for path, label in planted.planted.swapped.items()]
    assert np.mean(right) >= 0.9


def test_wrong_labels_are_those_cleanlab_finds_from_the_same_votes(planted: Checked) -> None:
    codes, votes = shares(planted.issues["label"].to_pylist(), planted.neighbours)
    theirs = find_label_issues(codes, votes, filter_by="confident_learning", n_jobs=1)
    ours = planted.issues["is_label_issue"].to_numpy()
    assert ours[theirs].all()
    assert (theirs == ours).mean() >= 0.99  # ours count in whole votes
    assert planted.issues["label_score"].to_numpy() == pytest.approx(votes[np.arange(len(codes)), codes])


def test_outliers_are_in_the_order_of_cleanlab(planted: Checked) -> None:
    parts = [tables.from_parquet((planted.output / part.key).read_bytes()) for part in planted.plan.parts]
    values = tables.to_matrix(pa.concat_tables(parts)["pcaFeatures"])
    theirs = OutOfDistribution({"k": 10}).fit_score(features=values, verbose=False)
    ours = planted.issues["outlier_score"].to_numpy()
    from sklearn.neighbors import NearestNeighbors

    distances = NearestNeighbors(n_neighbors=11).fit(values).kneighbors(values)[0][:, 1:].mean(axis=1)
    assert spearmanr(ours, -distances).statistic == pytest.approx(1)
    assert spearmanr(ours, theirs).statistic > 0.6  # cleanlab takes the cosine for so many columns


def test_every_copy_is_found_in_a_group_with_its_original(planted: Checked) -> None:
    copied = planted.planted.copied
    assert flagged(planted.issues, "exact_duplicate") == set(copied) | set(copied.values())
    assert flagged(planted.issues, "near_duplicate") >= set(copied) | set(copied.values())
    rows = {row["path"]: row for row in planted.issues.to_pylist()}
    for path, copy in copied.items():
        assert rows[path]["exact_duplicate_group"] == rows[copy]["exact_duplicate_group"] >= 0
        assert rows[path]["near_duplicate_group"] == rows[copy]["near_duplicate_group"] >= 0
        assert (rows[path]["nearest"], rows[path]["nearest_distance"]) == (copy, 0.0)
        assert (rows[path]["near_duplicate_score"], rows[path]["exact_duplicate_score"]) == (0.0, 0.0)
    assert planted.quality.groups["exact_duplicate"] == len(copied)


def test_accuracies_are_those_of_the_labels_and_rise_with_the_components(planted: Checked) -> None:
    labels = np.array(planted.issues["label"].to_pylist())
    nearest = (labels[planted.neighbours[:, 0]] == labels).mean()
    assert planted.quality.accuracy is not None
    assert planted.quality.accuracy.nearest == nearest
    spaces = planted.quality.spaces
    assert [space.components for space in spaces] == [8, 16, 32, 0]
    assert all(space.neighbours is not None and space.probe is not None for space in spaces)
    assert all(space.neighbours.vote > 0.9 for space in spaces if space.neighbours)
    assert spaces[0].probe.accuracy < spaces[2].probe.accuracy > 0.9  # type: ignore[union-attr]
    wrong = sum(pair.rows for pair in planted.quality.confusions)
    assert wrong == round((1 - planted.quality.accuracy.vote) * planted.quality.labelled)
    assert sum(each.rows for each in planted.quality.classes) == planted.quality.rows == len(labels)


def test_a_second_check_asks_nothing_and_a_lost_file_only_what_is_missing(planted: Checked) -> None:
    request = NeighboursRequest(str(planted.output), planted.plan.version)
    report = SequentialEngine().neighbours(request)
    assert report.reused == report.questions > 0
    band = planted.plan.bands[0]
    content = (planted.output / band.key).read_bytes()
    (planted.output / band.key).unlink()
    assert SequentialEngine().neighbours(request).reused == report.questions - band.rows
    assert (planted.output / band.key).read_bytes() == content


def test_results_that_were_published_meanwhile_are_not_taken_for_the_others(planted: Checked) -> None:
    with pytest.raises(InputError, match="published anew meanwhile"):
        SequentialEngine().neighbours(NeighboursRequest(str(planted.output), "another"))


@pytest.fixture(scope="module")
def parted(random_model: Model, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Made-up photos in Training and Test, of which 3 of Test are also in Training; and their output."""
    folder = tmp_path_factory.mktemp("parted")
    write_photos(folder / "photos" / "Training", images=60, classes=4)
    write_photos(folder / "photos" / "Test", images=24, classes=4, seed=5)
    for path in sorted((folder / "photos" / "Training").rglob("000.jpg"))[:3]:
        shutil.copy(path, folder / "photos" / "Test" / path.parent.name / "leaked.jpg")
    publish_run(folder / "photos", folder / "output", random_model, components=8)
    return folder / "photos", folder / "output"


def test_test_photos_that_are_in_the_training_part_are_found(parted: tuple[Path, Path]) -> None:
    source, output = parted
    _, issues, quality = checked(output, split_depth=1)
    assert quality.training == "train"
    (test,) = quality.splits
    leaked = {str(path) for path in (source / "Test").rglob("leaked.jpg")}
    assert flagged(issues, "leakage") >= leaked
    assert test.leaked == len(flagged(issues, "leakage")) == quality.issues["leakage"]
    rows = {row["path"]: row for row in issues.to_pylist()}
    assert all(
        rows[path]["leakage_nearest"] == path.replace("Test", "Training").replace("leaked", "000") for path in leaked
    )
    assert (test.split, test.rows) == ("test", 27)
    assert test.neighbours is not None
    assert test.probe is not None
    assert test.frechet is not None
    assert test.frechet > 0


def test_without_parts_there_is_no_leakage_and_a_depth_without_parts_is_refused(parted: tuple[Path, Path]) -> None:
    _, issues, quality = checked(parted[1])
    assert (quality.training, quality.splits, flagged(issues, "leakage")) == (None, (), set())
    with pytest.raises(InputError, match="at depth 3 below the source there are no two parts"):
        make_plan(str(parted[1]), 3)


def test_photos_that_are_gone_are_counted_and_not_called_equal(random_model: Model, tmp_path: Path) -> None:
    source = write_photos(tmp_path / "photos", images=12, classes=2)
    first = sorted(source.rglob("*.jpg"))[0]
    shutil.copy(first, first.with_name("copy.jpg"))
    publish_run(source, tmp_path / "output", random_model, components=2)
    shutil.rmtree(source)
    _, issues, quality = checked(tmp_path / "output")
    assert quality.unread == 2
    assert flagged(issues, "exact_duplicate") == set()
    assert len(flagged(issues, "near_duplicate")) == 2


@pytest.mark.parametrize("classes", [0, 1])
def test_without_two_classes_there_is_no_accuracy_to_tell(random_model: Model, tmp_path: Path, classes: int) -> None:
    source = write_photos(tmp_path / "photos", images=8, classes=1)
    if not classes:
        folder = next(source.iterdir())
        for path in list(folder.iterdir()):
            path.rename(source / path.name)
        folder.rmdir()
    publish_run(source, tmp_path / "output", random_model, components=2)
    _, issues, quality = checked(tmp_path / "output")
    assert quality.accuracy is None
    assert quality.confusions == ()
    assert all(space.neighbours is None and space.probe is None for space in quality.spaces)
    assert flagged(issues, "label") == set()
    with pytest.raises(InputError, match="min-accuracy needs labels"):
        check_accuracy(quality, 0.5)


def test_the_command_writes_the_tables_and_says_what_it_found(
    plain_fruits: CommandLine, published: Path, tmp_path: Path
) -> None:
    output = shutil.copytree(published, tmp_path / "output")
    done = plain_fruits("check", output, "--workers", "1")
    assert done.code == 0, done.errors
    assert "are called right by their 10 nearest others" in done.printed
    record = read_record(str(output))
    quality = latest_quality(str(output), record)
    assert quality is not None
    assert quality == read_quality(str(output), quality.check)
    folder = output / check_folder(quality.check)
    assert sorted(path.name for path in folder.iterdir()) == [
        "issues.parquet",
        "map.parquet",
        "nearest",
        "quality.json",
    ]
    assert pq.read_schema(output / issues_key(folder.relative_to(output).as_posix())).equals(tables.ISSUES)
    assert pq.read_table(output / layout_key(folder.relative_to(output).as_posix())).num_rows == quality.rows
    assert [path for path in folder.rglob("*.*") if b"<sealed checks/" not in path.read_bytes()] == []
    again = plain_fruits("check", output, "--json")
    assert again.code == 0, again.errors
    said = json.loads(again.printed)
    assert said.items() <= json.loads((folder / "quality.json").read_text()).items()
    (folder / "quality.json").write_bytes(b"{}")
    mended = plain_fruits("check", output, "--workers", "1")
    assert mended.code == 0, mended.errors
    assert "they are made again" in mended.errors
    assert read_quality(str(output), quality.check).issues == quality.issues
    below = plain_fruits("check", output, "--min-accuracy", "1")
    if quality.accuracy and quality.accuracy.vote < 1:
        assert below.code == 1
        assert "is below the 100.00% asked for" in below.errors


def test_an_accuracy_below_the_one_asked_for_is_an_error(planted: Checked) -> None:
    check_accuracy(planted.quality, 0.5)
    with pytest.raises(QualityError, match=r"the accuracy 9\d\.\d\d% is below the 99\.90% asked for; worst classes: "):
        check_accuracy(planted.quality, 0.999)


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (("check", "/nowhere/at/all"), "has no published results", "Run `fruits run SOURCE OUTPUT` first"),
        (("check", "OUTPUT", "--split-depth", "0"), "split-depth cannot be 0", "1 is the first folder"),
        (("check", "OUTPUT", "--min-accuracy", "2"), "min-accuracy cannot be 2", "such as 0.97"),
        (("check", "OUTPUT", "--emr", "executors=4"), "the engine dask takes no EMR settings", "Leave out --emr"),
        (("report", "/nowhere/at/all"), "has no published results", "Run `fruits run SOURCE OUTPUT` first"),
    ],
)
def test_what_cannot_be_checked_is_said_in_a_line(
    plain_fruits: CommandLine, published: Path, arguments: tuple[str, ...], message: str, hint: str
) -> None:
    outcome = plain_fruits(*(str(published) if word == "OUTPUT" else word for word in arguments))
    outcome.assert_refused(message, hint)
