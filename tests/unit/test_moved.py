"""Photos that were moved keep their features, if they are the same photos: by name, size and bytes."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow.dataset as ds
import pytest

from engines.base import FeaturizeReport, FeaturizeRequest, IndexRequest
from engines.core.errors import InputError
from engines.core.index.catalog import Selection
from engines.core.networks.model import Model, publish_model
from flows.chain import run_chain
from tests.archives import photos_of, write_tar
from tests.conftest import write_photos
from tests.parity.chain import SequentialEngine, labelled_features
from tests.s3 import Aws


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """24 photos of 3 classes, and a reject."""
    source = write_photos(tmp_path / "photos", images=24, classes=3)
    (next(source.iterdir()) / "zz.jpg").write_bytes(b"no image")
    return source


def featurize(source: object, output: Path, model: Model, *, moved: bool = False) -> FeaturizeReport:
    engine = SequentialEngine()
    indexed = engine.index(
        IndexRequest(str(source), str(output), Selection(shard_size=6), source_moved=moved),
    )
    publish_model(model, str(output))
    request = FeaturizeRequest(str(source), str(output), indexed.catalog, model.fingerprint)
    return engine.featurize(replace(request, source_moved=moved))


def rows_below(output: Path, place: object) -> list[tuple[str, bytes]]:
    """The features whose paths are below a place."""
    paths = ds.dataset(output / "features", format="parquet").to_table()["path"].to_pylist()
    chosen = [path.startswith(f"{place}/") for path in paths]
    assert sum(chosen) == 24
    return sorted(set(labelled_features(output)))


def test_photos_in_another_place_are_not_computed_again(source: Path, tmp_path: Path, model: Model) -> None:
    output = tmp_path / "output"
    before = featurize(source, output, model)
    features = rows_below(output, source)
    moved = source.rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="holds results of another source") as error:
        featurize(moved, output, model)
    assert "--source-moved" in error.value.hint
    after = featurize(moved, output, model, moved=True)
    assert (after.reused, after.computed) == (24, 0)
    assert after.rejected == before.rejected == {"not_an_image": 1}
    assert rows_below(output, moved) == features


def test_a_copy_has_the_features_of_a_run_from_scratch(source: Path, tmp_path: Path, model: Model) -> None:
    output = tmp_path / "output"
    featurize(source, output, model)
    copy = shutil.copytree(source, tmp_path / "copy")  # other times, equal bytes
    featurize(copy, output, model, moved=True)
    scratch = tmp_path / "scratch"
    featurize(copy, scratch, model)
    for name in ("features", "rejects"):
        for path in (scratch / name).iterdir():
            assert (output / name / path.name).read_bytes() == path.read_bytes()


def test_a_photo_that_changed_on_the_way_is_computed_again(source: Path, tmp_path: Path, model: Model) -> None:
    output = tmp_path / "output"
    featurize(source, output, model)
    moved = source.rename(tmp_path / "elsewhere")
    first, second = sorted(moved.glob("*/0*.jpg"))[:2]
    other = second.read_bytes()
    first.write_bytes(other[: first.stat().st_size].ljust(first.stat().st_size, b"\0"))  # a photo of the same size
    report = featurize(moved, output, model, moved=True)
    assert 0 < report.computed < 25
    scratch = tmp_path / "scratch"
    featurize(moved, scratch, model)
    for path in (scratch / "features").iterdir():
        assert (output / "features" / path.name).read_bytes() == path.read_bytes()


def test_a_move_into_an_archive_and_to_s3_is_a_move(
    source: Path, tmp_path: Path, model: Model, aws: Aws, bucket: str
) -> None:
    output = tmp_path / "output"
    featurize(source, output, model)
    packed = write_tar(tmp_path / "photos.tar", photos_of(source))
    assert featurize(packed, output, model, moved=True).reused == 24
    aws.put(bucket, {f"photos/{key}": content for key, content in photos_of(source).items()})
    assert featurize(f"s3://{bucket}/photos", output, model, moved=True).reused == 24


def test_once_published_the_output_belongs_to_the_new_place(
    source: Path, tmp_path: Path, weights: str, model: Model
) -> None:
    output = tmp_path / "output"
    featurize(source, output, model)
    moved = source.rename(tmp_path / "elsewhere")
    options = {"weights": weights, "components": 4, "shard_size": 6, "workers": 1, "max_rejects": 0.1}
    record = run_chain(str(moved), str(output), source_moved=True, **options)
    assert (record.source, record.counts.reused) == (str(moved), 24)
    assert run_chain(str(moved), str(output), **options) == record  # nothing was to do
