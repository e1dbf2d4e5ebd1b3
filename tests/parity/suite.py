"""What every engine promises. A new engine inherits `EngineParity` and gives it one fixture, `engine`.

class TestMyEngine(EngineParity):
    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls):
        with MyEngine() as engine:
            yield engine
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from engines.base import Engine, FitRequest, ProjectRequest
from engines.core import tables
from engines.core.errors import InputError
from engines.core.index.labelling import Labelling
from engines.core.networks.mobilenet_v2 import MOBILENET_V2
from engines.core.networks.model import Model
from engines.core.reduce.pca import load_pca
from tests.parity.chain import (
    Run,
    SequentialEngine,
    bytes_of,
    labelled_features,
    made_up_features,
    run_chain,
    run_featurize,
    run_fit,
    run_neighbours,
    tables_of,
)
from tests.parity.conftest import COMPONENTS, SHARD_SIZE, Archived, FitReferences, Images

TOLERANCE = 5e-5
"""Largest difference to scikit-learn, relative to the largest value of each component; float32 alone rounds 6e-8."""

SCHEMAS = {
    "catalog": tables.CATALOG,
    "features": tables.feature_rows(MOBILENET_V2.features),
    "rejects": tables.REJECTS,
    "pca": tables.SPECTRUM,
    "results": tables.RESULTS,
}


def aligned(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """`theirs` with each column's sign turned towards ours."""
    return theirs * np.sign((ours * theirs).sum(axis=0))


class EngineParity:
    """Byte for byte what the sequential engine makes, whatever the shards, the groups and the number of workers."""

    @pytest.fixture(scope="class")
    @classmethod
    def run(cls, engine: Engine, images: Images, model: Model, tmp_path_factory: pytest.TempPathFactory) -> Run:
        return run_chain(
            engine,
            images.source,
            tmp_path_factory.mktemp("run") / "output",
            model,
            components=COMPONENTS,
            shard_size=SHARD_SIZE,
            per_class=images.per_class,
        )

    @pytest.fixture(scope="class")
    @classmethod
    def odd_run(cls, engine: Engine, odd_source: Path, model: Model, tmp_path_factory: pytest.TempPathFactory) -> Run:
        output = tmp_path_factory.mktemp("odd-run") / "output"
        return run_chain(engine, odd_source, output, model, components=4, shard_size=8)

    def test_features_are_identical(self, run: Run, reference: Run) -> None:
        expected = bytes_of(reference.output / "features")
        assert len(expected) > 4
        assert bytes_of(run.output / "features") == expected

    def test_moments_spectrum_and_components_are_identical(self, run: Run, reference: Run) -> None:
        assert run.fitted == reference.fitted
        for name in ("model.npz", "spectrum.parquet"):
            assert run.pca(name) == reference.pca(name)

    def test_results_are_identical(self, run: Run, reference: Run) -> None:
        assert run.projected == reference.projected
        assert bytes_of(run.output / "results") == bytes_of(reference.output / "results")
        digests = bytes_of(run.output)
        assert {part["key"]: part["sha256"] for part in run.projected.parts}.items() <= digests.items()

    def test_results_say_what_their_vectors_are(self, run: Run) -> None:
        parts = [run.output / part["key"] for part in run.projected.parts]
        assert len(parts) > 1
        for part in parts:
            assert tables.metadata_of(pq.read_schema(part)) == {
                "width": COMPONENTS,
                "metric": "euclidean",
                "network": MOBILENET_V2.architecture,
                "fingerprint": run.fingerprint,
                "pca": run.fitted.pca,
            }

    def test_a_frozen_pca_gives_the_same_rows_and_explains_what_it_did(
        self, engine: Engine, run: Run, tmp_path: Path
    ) -> None:
        output = str(shutil.copytree(run.output, tmp_path / "output"))
        assert run.indexed is not None
        request = FitRequest(output, run.indexed.catalog, run.fingerprint, COMPONENTS, frozen=run.fitted.pca)
        fitted = engine.fit_pca(request)
        assert fitted.pca != run.fitted.pca
        assert fitted.explained_variance == pytest.approx(run.fitted.explained_variance, abs=1e-8)
        assert fitted.frozen_variance == run.fitted.explained_variance
        projected = engine.project(ProjectRequest(output, run.indexed.catalog, run.fingerprint, fitted.pca))
        frozen = Run(Path(output), fitted, projected, run.fingerprint)
        assert frozen.results().equals(run.results())
        assert engine.fit_pca(request) == replace(fitted, reused=True)

    def test_nothing_else_is_in_the_output(self, run: Run, reference: Run) -> None:
        assert bytes_of(run.output) == bytes_of(reference.output)

    def test_counts_are_the_same(self, run: Run, reference: Run) -> None:
        assert run.indexed == reference.indexed
        assert run.featurized is not None
        assert reference.featurized is not None
        assert run.featurized.listed == run.featurized.featurized == run.projected.projected > COMPONENTS
        assert run.featurized.rejected == reference.featurized.rejected == {}
        assert run.featurized.peak_memory > 0

    def test_grouping_changes_no_byte(
        self, engine: Engine, fit_reference: FitReferences, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shards = np.split(made_up_features(60), [1, 5, 5, 20, 21, 40, 52])
        monkeypatch.setattr(type(engine), "parallelism", property(lambda _: 7))
        expected = fit_reference("grouping", shards, 10)
        run_fit(engine, shards, tmp_path / "output", 10)
        assert bytes_of(tmp_path / "output") == bytes_of(expected.output)

    def test_shard_size_changes_no_row(self, engine: Engine, fit_reference: FitReferences, tmp_path: Path) -> None:
        features = made_up_features(60)
        expected = fit_reference("grouping", np.split(features, [1, 5, 5, 20, 21, 40, 52]), 10)
        run = run_fit(engine, np.split(features, [33]), tmp_path / "output", 10)
        assert run.pca("model.npz") == expected.pca("model.npz")
        ours, theirs = (tables.to_matrix(table["pcaFeatures"]) for table in (run.results(), expected.results()))
        assert ours.tobytes() == theirs.tobytes()

    def test_outputs_equal_scikit_learn(self, run: Run) -> None:
        features = tables.to_matrix(run.features()["features"]).astype(np.float64)
        deviation = features.std(axis=0, ddof=1)
        standardized = StandardScaler(with_std=False).fit_transform(features) / np.where(deviation > 0, deviation, 1)
        oracle = PCA(COMPONENTS, svd_solver="full")
        theirs = oracle.fit_transform(standardized)
        ours = tables.to_matrix(run.results()["pcaFeatures"]).astype(np.float64)
        assert np.abs(aligned(ours, theirs) - ours).max(axis=0) == pytest.approx(0, abs=TOLERANCE * np.abs(ours).max())
        assert run.fitted.explained_variance == pytest.approx(oracle.explained_variance_ratio_.sum(), rel=1e-9)

    def test_largest_loading_is_positive(self, run: Run) -> None:
        components = load_pca(run.pca("model.npz")).components
        assert (components[np.arange(COMPONENTS), np.abs(components).argmax(axis=1)] > 0).all()

    def test_empty_partition(self, odd_run: Run, odd_reference: Run) -> None:
        assert 0 in [part["rows"] for part in odd_run.projected.parts]
        assert odd_run.projected == odd_reference.projected

    def test_rejects_in_every_shard(self, odd_run: Run, odd_reference: Run) -> None:
        assert odd_run.indexed is not None
        assert odd_run.featurized is not None
        assert odd_reference.featurized is not None
        rejects = bytes_of(odd_run.output / "rejects")
        assert len(rejects) == odd_run.indexed.shards > 3
        assert rejects == bytes_of(odd_reference.output / "rejects")
        assert odd_run.featurized.rejected == {"empty": 44, "not_an_image": 4, "truncated": 4}
        assert odd_run.featurized.rejected == odd_reference.featurized.rejected

    def test_unicode_paths(self, odd_run: Run, odd_reference: Run) -> None:
        paths = odd_run.results()["path"].to_pylist()
        assert len(paths) == 12
        assert all("früchte 🍎 水果/Äpfel" in path and path.endswith("a naïve % # ?.jpg") for path in paths)
        assert set(odd_run.results()["label"].to_pylist()) == {f"Äpfel {kind} 'süß'" for kind in range(3)}
        assert bytes_of(odd_run.output) == bytes_of(odd_reference.output)

    def test_one_image_in_a_shard(self, engine: Engine, photos: Path, model: Model, tmp_path: Path) -> None:
        run = run_chain(engine, photos, tmp_path / "output", model, components=2, shard_size=1, per_class=1)
        assert [part["rows"] for part in run.projected.parts] == [1] * 10
        again = run_chain(engine, photos, tmp_path / "other", model, components=2, shard_size=64, per_class=1)
        assert len(again.projected.parts) == 1
        assert run.pca("model.npz") == again.pca("model.npz")
        assert run.results().equals(again.results())

    def test_constant_feature(self, engine: Engine, fit_reference: FitReferences, tmp_path: Path) -> None:
        features = made_up_features(40, seed=1)
        features[:, [0, 700, 1279]] = 0.5
        shards = np.split(features, [13])
        run = run_fit(engine, shards, tmp_path / "output", 5)
        assert bytes_of(run.output) == bytes_of(fit_reference("constant", shards, 5).output)
        pca = load_pca(run.pca("model.npz"))
        assert (pca.scale[[0, 700, 1279]] == 0).all()
        assert (pca.components[:, [0, 700, 1279]] == 0).all()
        assert np.isfinite(tables.to_matrix(run.results()["pcaFeatures"])).all()

    def test_fewer_images_than_129(self, engine: Engine, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="128 images are too few for 128 components"):
            run_fit(engine, np.split(made_up_features(128), [50]), tmp_path / "output", 128)
        assert not (tmp_path / "output" / "pca").exists()

    def test_exactly_129_images(self, engine: Engine, fit_reference: FitReferences, tmp_path: Path) -> None:
        shards = np.split(made_up_features(129), [50])
        run = run_fit(engine, shards, tmp_path / "output", 128)
        assert bytes_of(run.output) == bytes_of(fit_reference("129", shards, 128).output)
        assert tables.to_matrix(run.results()["pcaFeatures"]).shape == (129, 128)
        assert run.fitted.explained_variance == pytest.approx(1.0)

    def test_components_as_a_share(self, engine: Engine, fit_reference: FitReferences, tmp_path: Path) -> None:
        shards = np.split(made_up_features(80, seed=2), [33, 34])
        run = run_fit(engine, shards, tmp_path / "output", 0.95)
        assert bytes_of(run.output) == bytes_of(fit_reference("share", shards, 0.95).output)
        ratios = load_pca(run.pca("model.npz")).ratios
        k = run.fitted.components
        assert k == run.fitted.components_for_95
        assert ratios[:k].sum() >= 0.95 > ratios[: k - 1].sum()

    def test_nearest_rows_and_moments_of_parts_are_identical(
        self, engine: Engine, neighbours_reference: dict[str, str], tmp_path: Path
    ) -> None:
        found = run_neighbours(
            engine, run_fit(engine, np.split(made_up_features(60), [25, 40]), tmp_path / "output", 10)
        )
        assert found == neighbours_reference
        assert len(found) == 5  # among all, in 8 components, in all features, to the training part; moments

    def test_fitted_to_one_split_and_applied_to_all(
        self, engine: Engine, fit_reference: FitReferences, tmp_path: Path
    ) -> None:
        features = made_up_features(60)
        run = run_fit(engine, np.split(features, [1, 20, 20, 41]), tmp_path / "output", 10, split="training")
        alone = fit_reference("train alone", [features[::2]], 10)
        assert run.pca("model.npz") == alone.pca("model.npz")
        assert run.fitted.explained_variance == alone.fitted.explained_variance
        assert run.projected.projected == 60
        assert run.results()["split"].to_pylist().count("train") == alone.projected.projected == 30

    def test_other_labels_reach_the_results_and_nothing_is_computed_again(
        self, engine: Engine, run: Run, images: Images, model: Model, tmp_path: Path
    ) -> None:
        outputs = [Path(shutil.copytree(run.output, tmp_path / name)) for name in ("engine", "sequential")]
        labelling = Labelling("regex", label_regex=r"^.(?P<label>[^/]*)/(?P<split>.)")
        ours, reference = (
            run_chain(
                by,
                images.source,
                output,
                model,
                components=COMPONENTS,
                shard_size=SHARD_SIZE,
                per_class=images.per_class,
                labelling=labelling,
            )
            for by, output in zip((engine, SequentialEngine()), outputs, strict=True)
        )
        assert ours.featurized is not None
        assert ours.featurized.reused == ours.featurized.listed
        assert ours.fitted.reused
        assert ours.projected.reused == 0
        assert bytes_of(ours.output) == bytes_of(reference.output)
        assert bytes_of(run.output).items() < bytes_of(ours.output).items(), "what was there is as it was"
        before, after = run.results(), ours.results()
        assert after["label"].to_pylist() == [label[1:] for label in before["label"].to_pylist()]
        assert after["split"].to_pylist() == [path.rsplit("/", 1)[1][0] for path in before["path"].to_pylist()]
        assert after["pcaFeatures"].equals(before["pcaFeatures"])

    def test_schema_and_metadata_of_every_table(self, odd_run: Run, odd_reference: Run) -> None:
        seen = set()
        for path in tables_of(odd_run.output):
            name = path.relative_to(odd_run.output)
            schema = pq.read_schema(path)
            assert schema.equals(SCHEMAS[name.parts[0]]), name
            assert schema.equals(pq.read_schema(odd_reference.output / name), check_metadata=True), name
            seen.add(name.parts[0])
        assert seen == set(SCHEMAS)

    def test_archives_give_the_bits_of_their_photos_in_a_folder(
        self, engine: Engine, archived: Archived, model: Model, tmp_path: Path
    ) -> None:
        for kind, source in archived.locations.items():
            output = tmp_path / kind
            report = run_featurize(engine, source, output, model, shard_size=8)
            assert report.rejected == {"empty": 1, "not_an_image": 1, "truncated": 1}, kind
            assert labelled_features(output) == archived.features, kind
            before = bytes_of(output)
            again = run_featurize(engine, source, output, model, shard_size=8)
            assert (again.reused, again.listed, again.computed) == (12, 15, 0), kind
            assert bytes_of(output) == before, kind

    def test_second_run_reuses_everything(self, engine: Engine, run: Run, images: Images, model: Model) -> None:
        before = bytes_of(run.output)
        again = run_chain(
            engine,
            images.source,
            run.output,
            model,
            components=COMPONENTS,
            shard_size=SHARD_SIZE,
            per_class=images.per_class,
        )
        assert again.featurized is not None
        assert again.featurized.reused == again.featurized.listed
        assert again.fitted.reused
        assert again.projected.reused == again.projected.projected
        assert bytes_of(run.output) == before
