"""Real photos through the whole chain, against an oracle that shares nothing with it: Keras, then scikit-learn.

Tolerances. Keras computes with other kernels than LiteRT, in other orders: its features differ by up to 5e-5. Such a
difference turns a component by about its size over the gap between the component's eigenvalue and the next ones (Davis
and Kahan 1970), so what can be asked of a projection depends on that gap:

    tolerance of component i = 4e-3 + 4e-4 / gap(i)         (projections reach 50; about six times what was measured)

Where that is less than a twentieth of the component's standard deviation (and the sign rule is not a matter of the last
digits), the component is compared by itself. Others lie so close together that only the subspace they span is
determined: they are compared by what of each photo lies in it, which no rotation or sign changes. On equal features,
where only scikit-learn's arithmetic differs, every component is compared by itself.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from engines.core import tables
from engines.core.networks.prepare import prepare_model
from engines.core.reduce.pca import load_pca
from flows.checks import cache_folder
from tests.parity.chain import Run, SequentialEngine, run_chain

COMPONENTS = 128
PER_CLASS = 20
FEATURES_TOLERANCE = 1e-4

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Oracle:
    """scikit-learn's PCA of features standardized with n - 1, in this project's order and with its sign rule."""

    eigenvalues: Float64
    components: Float64
    projections: Float64

    @classmethod
    def of(cls, features: npt.NDArray[np.float32]) -> Oracle:
        rows = StandardScaler().fit_transform(features.astype(np.float64))
        rows *= np.sqrt((len(rows) - 1) / len(rows))
        pca = PCA(svd_solver="full").fit(rows)
        components = pca.components_[:COMPONENTS]
        peaks = components[np.arange(COMPONENTS), np.abs(components).argmax(axis=1)]
        components = components * np.sign(peaks)[:, np.newaxis]
        return cls(pca.explained_variance_, components, rows @ components.T)

    def gap(self, first: int, last: int) -> float:
        """The distance from the eigenvalues `first` to `last` to those around them."""
        before = self.eigenvalues[first - 1] - self.eigenvalues[first] if first else np.inf
        return float(min(before, self.eigenvalues[last] - self.eigenvalues[last + 1]))


def tolerance(gap: float) -> float:
    return 4e-3 + 4e-4 / gap


@pytest.fixture(scope="module")
def run(real_photos: Path, real_weights: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    model = prepare_model(real_weights, "litert", cache_folder())
    output = tmp_path_factory.mktemp("oracle") / "output"
    return run_chain(
        SequentialEngine(), real_photos, output, model, components=COMPONENTS, shard_size=64, per_class=PER_CLASS
    )


@pytest.fixture(scope="module")
def features(run: Run) -> npt.NDArray[np.float32]:
    return tables.to_matrix(run.features()["features"])


@pytest.fixture(scope="module")
def projections(run: Run) -> Float64:
    return tables.to_matrix(run.results()["pcaFeatures"]).astype(np.float64)


@pytest.fixture(scope="module")
def keras_features(run: Run, real_weights: str, tmp_path_factory: pytest.TempPathFactory) -> npt.NDArray[np.float32]:
    folder = tmp_path_factory.mktemp("keras")
    photos, answers = folder / "photos.json", folder / "features.npy"
    photos.write_text(json.dumps(run.features()["path"].to_pylist()))
    script = Path(__file__).with_name("keras_oracle.py")
    done = subprocess.run(
        [sys.executable, str(script), real_weights, str(photos), str(answers)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows: npt.NDArray[np.float32] = np.load(answers)
    return rows


@pytest.fixture(scope="module")
def keras_oracle(keras_features: npt.NDArray[np.float32]) -> Oracle:
    return Oracle.of(keras_features)


def test_at_least_600_photos_take_part(run: Run, features: npt.NDArray[np.float32]) -> None:
    assert features.shape[0] >= 600
    assert run.projected.projected == len(features)
    assert run.results()["path"].equals(run.features()["path"])
    assert [Path(path).parent.name for path in run.results()["path"].to_pylist()] == run.results()["label"].to_pylist()


def test_features_equal_keras(features: npt.NDArray[np.float32], keras_features: npt.NDArray[np.float32]) -> None:
    np.testing.assert_allclose(features, keras_features, rtol=0, atol=FEATURES_TOLERANCE)


def test_on_equal_features_every_projection_equals_scikit_learn(
    run: Run, features: npt.NDArray[np.float32], projections: Float64
) -> None:
    oracle = Oracle.of(features)
    pca = load_pca(run.pca("model.npz"))
    np.testing.assert_allclose(pca.components, oracle.components, atol=1e-10)
    np.testing.assert_allclose(pca.eigenvalues[:COMPONENTS], oracle.eigenvalues[:COMPONENTS], rtol=1e-11)
    # Results are float32, 6e-8 of values up to 50: that is all the difference there may be.
    np.testing.assert_allclose(projections, oracle.projections, rtol=2e-7, atol=1e-8)


def test_projections_equal_keras_and_scikit_learn_by_component(projections: Float64, keras_oracle: Oracle) -> None:
    alone = [component for component in range(COMPONENTS) if determined(keras_oracle, component)]
    assert len(alone) > 110, "photos whose spectrum is this degenerate test nothing"
    for component in alone:
        np.testing.assert_allclose(
            projections[:, component],
            keras_oracle.projections[:, component],
            rtol=0,
            atol=tolerance(keras_oracle.gap(component, component)),
            err_msg=f"component {component}",
        )


def test_projections_equal_keras_and_scikit_learn_by_subspace(
    run: Run, projections: Float64, keras_oracle: Oracle
) -> None:
    components = load_pca(run.pca("model.npz")).components
    close = [component for component in range(COMPONENTS) if not determined(keras_oracle, component)]
    groups = [[0, COMPONENTS - 1]]  # all of them together, in any case
    groups += [[group[0], group[-1]] for group in consecutive(close)]
    for first, last in groups:
        span = slice(first, last + 1)
        ours = projections[:, span] @ components[span]
        theirs = keras_oracle.projections[:, span] @ keras_oracle.components[span]
        distances = np.linalg.norm(ours - theirs, axis=1)
        assert distances.max() < 2 * tolerance(keras_oracle.gap(first, last)), f"components {first} to {last}"


def test_the_spectrum_equals_keras_and_scikit_learn(run: Run, keras_oracle: Oracle) -> None:
    pca = load_pca(run.pca("model.npz"))
    # Eigenvalues move by no more than the correlation matrix does (Weyl 1912), whatever the gaps.
    np.testing.assert_allclose(pca.eigenvalues[:COMPONENTS], keras_oracle.eigenvalues[:COMPONENTS], atol=1e-3)
    share = keras_oracle.eigenvalues[:COMPONENTS].sum() / keras_oracle.eigenvalues.sum()
    assert run.fitted.explained_variance == pytest.approx(share, abs=1e-6)
    cumulative = np.cumsum(keras_oracle.eigenvalues) / keras_oracle.eigenvalues.sum()
    assert run.fitted.components_for_95 == int(np.searchsorted(cumulative, 0.95)) + 1


def determined(oracle: Oracle, component: int) -> bool:
    """Whether gap and sign rule of this component allow to compare it by itself."""
    loadings = oracle.components[component]
    sign_margin = abs(loadings.max() + loadings.min())
    gap = oracle.gap(component, component)
    return tolerance(gap) < np.sqrt(oracle.eigenvalues[component]) / 20 and sign_margin > 1e-3


def consecutive(numbers: list[int]) -> list[list[int]]:
    groups = itertools.groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])
    return [[number for _, number in group] for _, group in groups]
