"""A worker whose CPU computes other bits says so: by default it stops the stage, `tolerant` goes on and is recorded."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from engines.base import FeaturizeRequest, IndexRequest
from engines.core import tables
from engines.core.errors import InputError
from engines.core.index.selection import Selection
from engines.core.networks import canary as canaries
from engines.core.networks.canary import canary_images, deviating_canary, measure_canary
from engines.core.networks.choices import ARITHMETIC, check_arithmetic
from engines.core.networks.model import Canary, Model, publish_canary, publish_model, read_canary, read_model
from tests.parity.chain import SequentialEngine, bytes_of

OTHER = Canary("0" * 64, "Some Other CPU")


@pytest.fixture
def engine() -> SequentialEngine:
    return SequentialEngine()


def request_for(engine: SequentialEngine, photos: Path, output: Path, model: Model) -> FeaturizeRequest:
    indexed = engine.index(IndexRequest(str(photos), str(output), Selection(per_class=2, shard_size=8)))
    publish_model(model, str(output))
    return FeaturizeRequest(str(photos), str(output), indexed.catalog, model.fingerprint)


def tolerant(request: FeaturizeRequest) -> FeaturizeRequest:
    return dataclasses.replace(request, arithmetic="tolerant")


def test_canary_images_are_whole_numbers_that_never_change() -> None:
    digest = hashlib.sha256(b"".join(image.tobytes() for image in canary_images(224))).hexdigest()
    assert digest == "e5f2971360546c2cd1e593d8c39bd9127ade4617ad71e9c9af5c938339ee5b2c"
    assert {image.shape for image in canary_images(224)} == {(224, 224, 3)}


def test_the_first_worker_decides_and_the_canary_stays_beside_the_model(
    engine: SequentialEngine, photos: Path, tmp_path: Path, model: Model
) -> None:
    request = request_for(engine, photos, tmp_path, model)
    assert read_canary(str(tmp_path), model.fingerprint) is None
    report = engine.featurize(request)
    decided = read_canary(str(tmp_path), model.fingerprint)
    assert decided == measure_canary(model)
    assert decided is not None
    assert (report.canary, report.deviating) == (decided.digest, 0)
    assert read_model(str(tmp_path), model.fingerprint) == dataclasses.replace(model, canary=decided)
    again = engine.featurize(request)
    assert (again.canary, again.reused) == (decided.digest, report.listed)


def test_the_canary_changes_neither_fingerprint_nor_features(
    engine: SequentialEngine, photos: Path, tmp_path: Path, model: Model
) -> None:
    assert dataclasses.replace(model, canary=OTHER).fingerprint == model.fingerprint
    engine.featurize(request_for(engine, photos, tmp_path / "a", model))
    for path in (tmp_path / "a" / "features").iterdir():
        assert "canary" not in tables.metadata_of(pq.read_schema(path))


def test_an_output_without_canary_goes_on_and_gets_one(
    engine: SequentialEngine, photos: Path, tmp_path: Path, model: Model
) -> None:
    request = request_for(engine, photos, tmp_path, model)
    report = engine.featurize(request)
    before = bytes_of(tmp_path)
    (tmp_path / "models" / model.fingerprint / "canary.json").unlink()
    assert engine.featurize(request).canary == ""  # nothing to do: no worker has been asked
    next((tmp_path / "features").iterdir()).unlink()
    assert engine.featurize(request).canary == report.canary
    assert bytes_of(tmp_path) == before


def test_a_worker_of_other_bits_stops_the_stage_and_is_named(
    engine: SequentialEngine, photos: Path, tmp_path: Path, model: Model
) -> None:
    request = request_for(engine, photos, tmp_path, model)
    publish_canary(dataclasses.replace(model, canary=OTHER), str(tmp_path))
    with pytest.raises(InputError, match="computes other bits than Some Other CPU") as error:
        engine.featurize(request)
    assert canaries.cpu_name() in error.value.message
    assert "--arithmetic tolerant" in error.value.hint
    assert not list(tmp_path.glob("features/*"))


def test_another_answer_of_the_same_kind_of_cpu_is_a_broken_machine(model: Model) -> None:
    odd = dataclasses.replace(model, canary=Canary("0" * 64, canaries.cpu_name()))
    with pytest.raises(InputError, match="same kind of CPU") as error:
        deviating_canary(odd, "exact")
    assert "broken" in error.value.hint


def test_tolerant_goes_on_and_its_features_say_so(
    engine: SequentialEngine, photos: Path, tmp_path: Path, model: Model
) -> None:
    request = request_for(engine, photos, tmp_path, model)
    publish_canary(dataclasses.replace(model, canary=OTHER), str(tmp_path))
    report = engine.featurize(tolerant(request))
    assert (report.canary, report.deviating) == (OTHER.digest, report.featurized)
    assert report.featurized > 0
    again = engine.featurize(tolerant(request))
    assert (again.deviating, again.reused) == (report.deviating, report.listed)
    with pytest.raises(InputError, match=f"{report.featurized} images were computed with --arithmetic tolerant"):
        engine.featurize(request)


def test_features_of_another_arithmetic_are_no_content_for_the_same_pca(
    engine: SequentialEngine, photos: Path, tmp_path: Path, model: Model
) -> None:
    exact = engine.featurize(request_for(engine, photos, tmp_path / "exact", model))
    request = request_for(engine, photos, tmp_path / "mixed", model)
    publish_canary(dataclasses.replace(model, canary=OTHER), str(tmp_path / "mixed"))
    mixed = engine.featurize(tolerant(request))
    assert exact.content != mixed.content
    assert exact.content == engine.featurize(tolerant(request_for(engine, photos, tmp_path / "exact", model))).content


def test_an_unknown_arithmetic_is_an_input_error(
    engine: SequentialEngine, photos: Path, tmp_path: Path, model: Model
) -> None:
    request = request_for(engine, photos, tmp_path, model)
    with pytest.raises(InputError, match="arithmetic cannot be 'fast'") as error:
        engine.featurize(dataclasses.replace(request, arithmetic="fast"))
    assert "exact, tolerant" in error.value.hint
    for name in ARITHMETIC:
        check_arithmetic(name)


def test_the_canary_is_plain_json(tmp_path: Path, model: Model) -> None:
    publish_model(model, str(tmp_path))
    publish_canary(dataclasses.replace(model, canary=OTHER), str(tmp_path))
    content = json.loads((tmp_path / "models" / model.fingerprint / "canary.json").read_text())
    assert content.pop("seal")
    assert content == {"digest": "0" * 64, "cpu": "Some Other CPU"}
