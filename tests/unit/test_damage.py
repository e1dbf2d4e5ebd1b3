"""Whatever happens to a file of an output, the next run says it, makes it again, and publishes what it should.

Each kind of file is flipped, truncated, emptied, deleted and replaced; which bit and where is chosen by a seed that a
failing test prints.
"""

from __future__ import annotations

import logging
import os
import random
import shutil
from pathlib import Path

import pytest

from engines.base import FeaturizeReport, FeaturizeRequest, FitReport, FitRequest, ProjectReport, ProjectRequest
from engines.core import tables
from engines.core.errors import DamagedError, InputError, StageError
from engines.core.sample_photos import encode_photo
from engines.published.clean import plan_cleaning, remove
from engines.published.verify import verify
from tests.conftest import write_photos
from tests.damage import DAMAGE, KINDS, copied, file_of, flip, parts_agree, run
from tests.parity.chain import SequentialEngine, bytes_of

SEED = random.randrange(10**6)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 photos, and one file in each class that is none."""
    source = write_photos(tmp_path_factory.mktemp("damage") / "photos", images=40, classes=4)
    for folder in source.iterdir():
        (folder / "text.jpg").write_text("no photo")
    return source


@pytest.fixture(scope="module")
def published(source: Path, weights: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output as a run left it. Not to be changed."""
    output = tmp_path_factory.mktemp("damage") / "output"
    run(source, output, weights)
    return output


@pytest.fixture(scope="module")
def other(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another output: its files are whole, and are not those of `published`."""
    output = tmp_path_factory.mktemp("damage") / "other"
    run(source, output, "random", images=30)
    return output


@pytest.fixture
def output(published: Path, tmp_path: Path) -> Path:
    return copied(published, tmp_path / "output")


def assert_mended(
    output: Path, published: Path, source: Path, weights: str, caplog: pytest.LogCaptureFixture
) -> list[str]:
    """Run again, and return what was said: afterwards everything is as an undisturbed run left it."""
    with caplog.at_level(logging.WARNING, "fruits"):
        run(source, output, weights)
    assert bytes_of(output) == bytes_of(published)
    parts_agree(output)
    assert (output / "report.html").stat().st_size > 1000
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_run_mends_one_file_of_each_kind_at_once(
    output: Path,
    published: Path,
    other: Path,
    source: Path,
    weights: str,
    damage: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    print(f"seed {SEED}")
    chance = random.Random(SEED)
    for kind in KINDS:
        DAMAGE[damage](file_of(output, kind), file_of(other, kind), chance)
    assert_mended(output, published, source, weights, caplog)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("report", "record")])
def test_a_run_says_what_was_damaged_and_makes_it_again(
    output: Path, published: Path, other: Path, source: Path, weights: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    print(f"seed {SEED}")
    chance = random.Random(f"{SEED} {kind}")
    path = file_of(output, kind)
    damage = chance.choice(sorted(DAMAGE.keys() - {"deleted"}))
    DAMAGE[damage](path, file_of(other, kind), chance)
    said = assert_mended(output, published, source, weights, caplog)
    assert any(str(path) in line for line in said), (damage, said)


def test_nothing_is_said_or_written_where_nothing_is_damaged(
    published: Path, source: Path, weights: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = {path: path.stat().st_mtime_ns for path in published.rglob("*")}
    with caplog.at_level(logging.WARNING, "fruits"):
        assert run(source, published, weights).unchanged
    assert {path: path.stat().st_mtime_ns for path in published.rglob("*") if path != published} == {
        path: time for path, time in before.items() if path != published
    }
    assert not caplog.records


@pytest.mark.parametrize("damage", DAMAGE)
def test_verify_finds_every_file_that_is_damaged(output: Path, other: Path, damage: str) -> None:
    print(f"seed {SEED}")
    chance = random.Random(SEED)
    # Where one of these is damaged, it is not known which files belong to the results.
    for kind in ("record", "manifest"):
        path = file_of(output, kind)
        content = path.read_bytes()
        DAMAGE[damage](path, file_of(other, kind), chance)
        if (kind, damage) == ("record", "deleted"):
            with pytest.raises(InputError, match="no published results"):
                verify(str(output))
        else:
            assert str(path) in said_by_verify(output) or (kind, damage) == ("record", "replaced")
        path.write_bytes(content)
    # A canary that is gone is that of an output of before there was one.
    kinds = [kind for kind in KINDS if kind not in ("record", "manifest") and (kind, damage) != ("canary", "deleted")]
    paths = [file_of(output, kind) for kind in kinds]
    for kind, path in zip(kinds, paths, strict=True):
        DAMAGE[damage](path, file_of(other, kind), chance)
    said = said_by_verify(output)
    # The report of another run is a whole report; a PCA is known by its spectrum.
    expected = [path for path in paths if damage != "replaced" or path.name not in ("report.html", "model.npz")]
    # A network is read with its recipe; rejects that are gone are missed by the features of their shard.
    expected = [path for path in expected if path.name != "network.bin"]
    expected = [path for path in expected if (damage, path.parent.name) != ("deleted", "rejects")]
    assert [path for path in expected if str(path) not in said] == []


def test_verify_finds_a_stray_file_among_the_results(output: Path) -> None:
    stray = file_of(output, "part").with_name("part-99999-copy.parquet")
    shutil.copy(file_of(output, "part"), stray)
    (found,) = verify(str(output)).found
    assert (found.finding, found.key) == ("foreign", str(stray.relative_to(output)))
    assert "Remove it" in found.remedy


def test_verify_finds_nothing_in_what_a_run_left(published: Path) -> None:
    result = verify(str(published))
    assert (result.found, result.unsealed) == ([], 0)
    assert result.files == len([path for path in published.rglob("*") if path.is_file()])


def said_by_verify(output: Path) -> str:
    return "\n".join(found.message for found in verify(str(output)).found)


def test_clean_removes_what_no_record_refers_to_and_nothing_else(
    source: Path, weights: str, tmp_path: Path, published: Path
) -> None:
    output = tmp_path / "output"
    run(source, output, weights, images=20)
    run(source, output, weights, images=30)
    run(source, output, weights)
    (output / "mine.txt").write_text("of a person")
    (output / "features" / f".unfinished-{'0' * 32}").write_text("half")
    everything = plan_cleaning(str(output))
    assert {"results", "PCA", "features", "catalogs", "records of former runs"} <= set(everything.kinds)
    kept = plan_cleaning(str(output), keep=1)
    assert kept.kept == 1
    assert 0 < kept.files < everything.files
    remove(str(output), everything)
    assert verify(str(output)).found == []
    assert plan_cleaning(str(output)).files == 0
    assert {key for key in bytes_of(output) if not key.startswith("mine")} == set(bytes_of(published))
    assert (output / "mine.txt").is_file()
    assert run(source, output, weights).unchanged


def test_clean_refuses_where_it_cannot_know_what_is_needed(output: Path) -> None:
    flip(file_of(output, "manifest"), output, random.Random(SEED))
    with pytest.raises(InputError, match="catalog/"):
        plan_cleaning(str(output))


def test_a_run_leaves_no_unfinished_file_of_a_dead_writer(output: Path, source: Path, weights: str) -> None:
    left = output / "results" / f".unfinished-{'a' * 32}"
    left.write_text("half")
    run(source, output, weights)
    assert not left.exists()


def test_an_output_that_is_removed_while_a_run_writes_is_said_in_one_line(
    source: Path, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "output"
    fit = SequentialEngine.fit_pca

    def removed(engine: SequentialEngine, request: FitRequest) -> FitReport:
        shutil.rmtree(output)
        return fit(engine, request)

    monkeypatch.setattr(SequentialEngine, "fit_pca", removed)
    with pytest.raises(StageError, match="was removed while this run was writing into it"):
        run(source, output, weights)


def test_a_photo_that_is_replaced_while_a_run_goes_is_no_row_and_is_looked_at_again(
    source: Path, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = Path(shutil.copytree(source, tmp_path / "photos"))
    photo, other = sorted(photos.glob("*/*.jpg"))[0:2]
    content, times = photo.read_bytes(), photo.stat()
    featurize = SequentialEngine.featurize

    def replaced(engine: SequentialEngine, request: FeaturizeRequest) -> FeaturizeReport:
        photo.write_bytes(other.read_bytes())
        try:
            return featurize(engine, request)
        finally:
            photo.write_bytes(content)
            os.utime(photo, ns=(times.st_atime_ns, times.st_mtime_ns))

    undisturbed = run(photos, tmp_path / "undisturbed", weights)
    with monkeypatch.context() as patch:
        patch.setattr(SequentialEngine, "featurize", replaced)
        record = run(photos, tmp_path / "output", weights).record
    assert record.rejected_by_reason["changed"] == 1
    # Restored, with its old time: nothing tells that it was another one, and yet it is not left out for good.
    record = run(photos, tmp_path / "output", weights).record
    assert "changed" not in record.rejected_by_reason
    assert record.parts == undisturbed.record.parts
    assert record.pca == undisturbed.record.pca


def test_what_has_no_checksum_is_taken_as_it_is_and_said_once(
    source: Path,
    output: Path,
    published: Path,
    weights: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    features = sorted(output.glob(KINDS["features"]))
    for path in features:
        table = tables.from_parquet(path.read_bytes())
        path.write_bytes(tables.to_parquet(table, tables.metadata_of(table.schema)))
    unsealed = {path: path.read_bytes() for path in features}
    (output / "run.json").unlink()
    project = SequentialEngine.project

    def damaged_once(engine: SequentialEngine, request: ProjectRequest) -> ProjectReport:
        monkeypatch.setattr(SequentialEngine, "project", project)
        raise DamagedError("a file is corrupt", "")

    monkeypatch.setattr(SequentialEngine, "project", damaged_once)
    run(source, output, weights)
    said = f"{len(features)} files of features are of before there were checksums, and are taken as they are"
    assert len(features) > 1
    assert [record.getMessage() for record in caplog.records].count(said) == 1, "in the second round, too"
    assert {path: path.read_bytes() for path in features} == unsealed, "nothing is rewritten for it"
    parts_agree(output)


def test_photos_that_are_replaced_or_removed_while_a_run_goes_are_listed_again_by_it(
    source: Path,
    weights: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    photos = Path(shutil.copytree(source, tmp_path / "photos"))
    replaced, removed, other = sorted(photos.glob("*/*.jpg"))[0:30:10]
    featurize, rounds = SequentialEngine.featurize, []

    def meddled(engine: SequentialEngine, request: FeaturizeRequest) -> FeaturizeReport:
        if not rounds:
            replaced.write_bytes(other.read_bytes())
            removed.unlink()
        rounds.append(featurize(engine, request))
        return rounds[-1]

    monkeypatch.setattr(SequentialEngine, "featurize", meddled)
    record = run(photos, tmp_path / "output", weights).record
    assert "2 images were replaced or removed since they were listed; the source is listed again" in caplog.text
    assert [report.rejected.get("changed") for report in rounds] == [1, None]
    assert rounds[1].computed < rounds[1].listed, "only shards in which something changed"
    assert record.counts.reused == 0, "no former run did anything"
    assert record.parts == run(photos, tmp_path / "from scratch", weights).record.parts


def test_photos_with_other_bytes_and_the_old_time_are_noticed_where_content_is_verified(
    source: Path, weights: str, tmp_path: Path
) -> None:
    photos = Path(shutil.copytree(source, tmp_path / "photos"))
    photo = sorted(photos.glob("*/*.jpg"))[0]
    run(photos, tmp_path / "output", weights)
    times, size = photo.stat(), photo.stat().st_size
    content = encode_photo(9, 9, 1, 1)
    photo.write_bytes(content[:size].ljust(size, b"\0") if len(content) <= size else photo.read_bytes()[:-2] + b"\0\0")
    os.utime(photo, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert run(photos, tmp_path / "output", weights).unchanged, "size and time are all that a listing tells"
    verified = run(photos, tmp_path / "output", weights, verify_content=True)
    assert not verified.unchanged
    scratch = run(photos, tmp_path / "scratch", weights)
    assert verified.record.parts == scratch.record.parts
    assert run(photos, tmp_path / "output", weights, verify_content=True).unchanged


def test_added_changed_removed_and_renamed_photos_give_what_a_run_from_scratch_gives(
    source: Path, weights: str, tmp_path: Path
) -> None:
    photos = Path(shutil.copytree(source, tmp_path / "photos"))
    run(photos, tmp_path / "output", weights)
    first, second, third = sorted(folder for folder in photos.iterdir())[:3]
    shutil.copy(sorted(first.iterdir())[0], first / "zzz.jpg")
    sorted(second.iterdir())[1].write_bytes(encode_photo(5, 5, 0, 0))
    sorted(third.iterdir())[0].unlink()
    third.rename(third.with_name("renamed"))
    again = run(photos, tmp_path / "output", weights).record
    scratch = run(photos, tmp_path / "scratch", weights).record
    assert again.parts == scratch.parts
    assert (again.pca, again.catalog) == (scratch.pca, scratch.catalog)
    of_scratch = bytes_of(tmp_path / "scratch")
    assert of_scratch.items() <= bytes_of(tmp_path / "output").items()
