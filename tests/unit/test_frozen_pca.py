"""A PCA of former results taken as it is: vectors stay comparable, and the record says so, and what they are worth."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import pytest

from engines.core import tables
from engines.core.compare.outputs import compare
from engines.core.errors import InputError
from engines.core.layout import pca_key
from engines.core.networks.mobilenet_v2 import MOBILENET_V2
from engines.core.output import RunRecord, read_record
from engines.core.reduce.frozen import explained_by
from engines.core.reduce.moments import moments_of, no_moments
from engines.core.reduce.pca import fit_pca
from engines.core.storage import open_storage
from engines.published.clean import _referred
from engines.published.verify import verify
from engines.recheck import compare_published
from flows import chain
from tests.conftest import write_photos
from tests.parity.chain import SequentialEngine, made_up_features

Run = Callable[..., RunRecord]

COMPONENTS = 6


@pytest.fixture
def run(weights: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The chain on the sequential engine."""
    monkeypatch.setattr(chain, "create_engine", lambda *_, **__: SequentialEngine())

    def run(source: Path, output: Path, **options: object) -> RunRecord:
        return chain.run_chain(str(source), str(output), **{"weights": weights, "shard_size": 16, **options})

    return run


@pytest.fixture
def first(run: Run, tmp_path: Path) -> Path:
    """What a run over 40 photos published."""
    run(write_photos(tmp_path / "photos", images=40, classes=4), tmp_path / "first", components=COMPONENTS)
    return tmp_path / "first"


@pytest.fixture
def more(tmp_path: Path) -> Path:
    """Half of these photos, and new ones."""
    source = write_photos(tmp_path / "more", images=24, classes=4, seed=5)
    for path in sorted((tmp_path / "photos").glob("*/*.jpg"))[::2]:
        shutil.copy(path, source / path.parent.name / f"former-{path.name}")
    return source


def rows_of(output: Path) -> dict[tuple[str, str], bytes]:
    """The values by label and name."""
    table = ds.dataset(output / read_record(str(output)).results, format="parquet").to_table()
    names = [(Path(path).parent.name, Path(path).name) for path in table["path"].to_pylist()]
    return {name: row.tobytes() for name, row in zip(names, tables.to_matrix(table["pcaFeatures"]), strict=True)}


def test_a_photo_of_both_runs_has_the_same_bits(run: Run, first: Path, more: Path, tmp_path: Path) -> None:
    record = run(more, tmp_path / "second", frozen_pca=str(first))
    before, after = rows_of(first), rows_of(tmp_path / "second")
    assert len(after) == 44
    common = [name for name in after if name[1].startswith("former-")]
    assert len(common) == 20
    for label, name in common:
        assert after[label, name] == before[label, name.removeprefix("former-")]
    assert (record.components, record.parameters["components"]) == (COMPONENTS, COMPONENTS)


def test_the_record_says_which_pca_and_what_it_explains_now_and_then(
    run: Run, first: Path, more: Path, tmp_path: Path
) -> None:
    record = run(more, tmp_path / "second", frozen_pca=str(first))
    former = read_record(str(first))
    assert record.frozen_pca is not None
    assert (record.frozen_pca.pca, record.frozen_pca.origin) == (former.pca, str(first))
    assert record.frozen_pca.explained_variance == former.explained_variance
    assert 0 < record.explained_variance < former.explained_variance
    assert read_record(str(tmp_path / "second")) == record
    assert former.frozen_pca is None
    assert "frozen_pca" not in json.loads((first / "run.json").read_text())


def test_what_is_explained_is_the_share_of_the_variance_of_the_projections() -> None:
    features = made_up_features(400)
    fitted_to, others = features[:250], features[250:] * np.float32(0.5)
    grid, width = MOBILENET_V2.grid, MOBILENET_V2.features
    others = grid.snap(others)
    pca = fit_pca(moments_of([fitted_to], width, grid), 10)
    standardized = (others - pca.mean) / pca.scale
    expected = (standardized @ pca.components.T).var(axis=0).sum() / standardized.var(axis=0).sum()
    assert explained_by(pca, moments_of([others], width, grid)) == pytest.approx(expected, abs=1e-8)
    assert explained_by(pca, moments_of([fitted_to], width, grid)) == pytest.approx(pca.explained_variance, abs=1e-8)
    assert explained_by(pca, moments_of([others[:1]], width, grid)) == 0
    assert explained_by(pca, no_moments(width, grid)) == 0


def test_a_version_of_the_same_output_can_be_named(run: Run, first: Path, tmp_path: Path) -> None:
    version = read_record(str(first)).pca.removeprefix("pca/")
    write_photos(tmp_path / "photos", images=56, classes=4)
    record = run(tmp_path / "photos", first, frozen_pca=version)
    assert record.frozen_pca is not None
    assert record.counts.projected == 56
    assert record.pca != f"pca/{version}"
    assert rows_of(first).keys() >= {("Apple Amber", "000.jpg")}
    # By what its results say of themselves, once another PCA is published.
    run(tmp_path / "photos", first, components=3)
    assert run(tmp_path / "photos", first, frozen_pca=version).results == record.results


def test_of_a_frozen_output_the_pca_it_had_is_taken(run: Run, first: Path, more: Path, tmp_path: Path) -> None:
    second = run(more, tmp_path / "second", frozen_pca=str(first))
    third = run(more, tmp_path / "third", frozen_pca=str(tmp_path / "second"))
    assert third.frozen_pca is not None
    assert third.frozen_pca.pca == second.frozen_pca.pca == read_record(str(first)).pca
    assert rows_of(tmp_path / "third") == rows_of(tmp_path / "second")


def test_a_second_run_has_nothing_to_do(run: Run, first: Path, more: Path, tmp_path: Path) -> None:
    before = run(more, tmp_path / "second", frozen_pca=str(first))
    assert run(more, tmp_path / "second", frozen_pca=str(first)) == before


def test_fewer_photos_than_components_are_enough(run: Run, first: Path, tmp_path: Path) -> None:
    few = write_photos(tmp_path / "few", images=3, classes=1, seed=9)
    record = run(few, tmp_path / "second", frozen_pca=str(first))
    assert (record.counts.projected, record.components) == (3, COMPONENTS)


def test_parity_and_recheck_understand_it(run: Run, first: Path, more: Path, tmp_path: Path) -> None:
    record = run(more, tmp_path / "second", frozen_pca=str(first))
    run(more, tmp_path / "again", frozen_pca=str(first))
    assert compare(str(tmp_path / "second"), str(tmp_path / "again")).verdict == "identical"
    run(more, tmp_path / "own", components=COMPONENTS)
    other = compare(str(tmp_path / "second"), str(tmp_path / "own"))
    assert other.verdict == "different"
    assert any(f"frozen, {record.frozen_pca.pca} in A, fitted to its own photos in B" in why for why in other.causes)
    assert all(row.identical for row in compare_published(SequentialEngine(), str(tmp_path / "second"), record, 10))


def test_verify_and_clean_know_both_its_folders(run: Run, first: Path, more: Path, tmp_path: Path) -> None:
    output = str(tmp_path / "second")
    record = run(more, tmp_path / "second", frozen_pca=str(first))
    assert verify(output).found == []
    assert record.frozen_pca is not None
    referred = set(_referred(open_storage(output), record))
    assert {pca_key(record.pca), pca_key(record.frozen_pca.pca)} <= referred
    (tmp_path / "second" / pca_key(record.frozen_pca.pca)).write_bytes(b"damaged")
    assert [found.key for found in verify(output).found] == [pca_key(record.frozen_pca.pca)]


def test_what_cannot_be_frozen_is_said(run: Run, first: Path, more: Path, tmp_path: Path, random_model: object) -> None:
    cases = {
        "has no published results": {"frozen_pca": str(tmp_path / "nowhere")},
        "has no PCA 0123456789abcdef": {"frozen_pca": "0123456789abcdef"},
        "has 6 components, not 5": {"frozen_pca": str(first), "components": 5},
        "was fitted to features of the model": {"frozen_pca": str(first), "weights": "random"},
        "is not fitted to a split": {"frozen_pca": str(first), "fit_split": "train", "split_depth": 1},
    }
    if json.loads((first / "run.json").read_text())["model"]["weights"] == "random":
        del cases["was fitted to features of the model"]
    for message, options in cases.items():
        with pytest.raises(InputError, match=message):
            run(more, tmp_path / "second", **options)
    assert not (tmp_path / "second" / pca_key(read_record(str(first)).pca)).exists()
