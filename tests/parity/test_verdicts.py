"""What `fruits parity` says of features of photos: those of another kind of CPU, and those of other weights."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from engines.base import FitRequest, ProjectRequest
from engines.core import tables
from engines.core.compare.outputs import compare
from engines.core.networks.mobilenet_v2 import MOBILENET_V2
from engines.core.networks.model import Model
from engines.core.networks.prepare import prepare_model
from engines.core.output import publish
from flows.checks import cache_folder
from tests.parity.chain import Run, SequentialEngine, run_chain
from tests.parity.conftest import COMPONENTS, SHARD_SIZE, Images
from tests.records import record_with


def published(run: Run, source: Path, model: Model) -> str:
    """The output of `run`, with a record."""
    assert run.indexed is not None
    record = {
        "source": str(source),
        "catalog": f"catalog/{run.indexed.catalog}.json",
        "results": run.projected.results,
        "parts": run.projected.parts,
        "pca": f"pca/{run.fitted.pca}",
        "model": {"fingerprint": model.fingerprint, **model.recipe},
    }
    publish(str(run.output), record_with(record))
    return str(run.output)


def with_noise(run: Run, output: Path, relative: float, seed: int) -> Run:
    """A copy of `run` whose features differ by this relative noise, fitted and projected again."""
    assert run.indexed is not None
    random = np.random.default_rng(seed)
    shutil.copytree(run.output / "models", output / "models")
    for folder in ("catalog", "features"):
        for path in (run.output / folder).iterdir():
            target = output / folder / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            if folder == "catalog":
                target.write_bytes(path.read_bytes())
                continue
            table = pq.read_table(path)
            features = tables.to_matrix(table["features"]).astype(np.float64)
            noisy = MOBILENET_V2.grid.snap(
                (features * (1 + random.normal(0, relative, features.shape))).astype(np.float32)
            )
            column = tables.to_lists(noisy, tables.feature_rows(MOBILENET_V2.features).field(2).type)
            metadata = tables.metadata_of(table.schema)
            target.write_bytes(tables.to_parquet(table.set_column(2, table.schema.field(2), column), metadata))
    engine = SequentialEngine()
    fitted = engine.fit_pca(FitRequest(str(output), run.indexed.catalog, run.fingerprint, COMPONENTS))
    projected = engine.project(ProjectRequest(str(output), run.indexed.catalog, run.fingerprint, fitted.pca))
    return Run(output, fitted, projected, run.fingerprint, run.indexed, run.featurized)


@pytest.mark.parametrize("relative", [1e-6, 4e-6])  # 4e-6: LiteRT and Keras
def test_noise_of_another_cpu_is_equal_within_tolerance(
    relative: float, reference: Run, images: Images, model: Model, tmp_path: Path
) -> None:
    noisy = with_noise(reference, tmp_path / "output", relative, seed=0)
    comparison = compare(published(reference, images.source, model), published(noisy, images.source, model))
    assert comparison.verdict == "equal within tolerance", comparison.reasons
    assert comparison.features.differing_values > 0
    assert comparison.pca is not None
    assert comparison.pca.largest_angle > 0


def test_noise_beyond_the_tolerance_is_different(reference: Run, images: Images, model: Model, tmp_path: Path) -> None:
    noisy = with_noise(reference, tmp_path / "output", 1e-3, seed=0)
    comparison = compare(published(reference, images.source, model), published(noisy, images.source, model))
    assert comparison.verdict == "different"
    assert "features differ by up to" in comparison.reasons[0]


def test_another_weights_file_is_different(
    reference: Run, images: Images, model: Model, weights: str, tmp_path: Path
) -> None:
    if weights == "random":
        pytest.skip("no second weights: FRUITS_TEST_WEIGHTS names no file, so the tests run with random ones")
    other = prepare_model("random", "litert", cache_folder())
    run = run_chain(
        SequentialEngine(),
        images.source,
        tmp_path / "output",
        other,
        components=COMPONENTS,
        shard_size=SHARD_SIZE,
        per_class=images.per_class,
    )
    comparison = compare(published(reference, images.source, model), published(run, images.source, other))
    assert comparison.verdict == "different"
    assert comparison.reasons[0].startswith("other weights: ")
    assert comparison.reasons[1].startswith("features differ by up to ")
