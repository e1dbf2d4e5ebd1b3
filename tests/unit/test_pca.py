"""Standardize and PCA agree with scikit-learn, up to the conventions that are stated."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from engines.core.errors import InputError
from engines.core.networks.mobilenet_v2 import MOBILENET_V2
from engines.core.reduce.moments import moments_of
from engines.core.reduce.pca import (
    RULES,
    Pca,
    check_components,
    check_enough_images,
    dump_pca,
    fit_pca,
    load_pca,
    project,
    spectrum_table,
)
from flows.signatures import _number

ROWS, WIDTH, CONSTANT = 200, 40, 7


@pytest.fixture(scope="module")
def features() -> npt.NDArray[np.float32]:
    """200 rows of 40 correlated features with well separated variances; feature 7 is constant."""
    random = np.random.default_rng(1)
    hidden = random.normal(size=(ROWS, WIDTH)) * 0.8 ** np.arange(WIDTH)
    mixed = 2.0 + 0.3 * hidden @ np.linalg.qr(random.normal(size=(WIDTH, WIDTH)))[0]
    mixed[:, CONSTANT] = 1.0
    return MOBILENET_V2.grid.snap(mixed.clip(0, 6).astype(np.float32))


@pytest.fixture(scope="module")
def pca(features: npt.NDArray[np.float32]) -> Pca:
    return fit(features, 12)


def fit(features: npt.NDArray[np.float32], components: float) -> Pca:
    return fit_pca(moments_of([features], features.shape[1], MOBILENET_V2.grid), components)


def standardized(features: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """By scikit-learn, whose deviation divides by n: corrected to n - 1."""
    scaled = StandardScaler().fit_transform(features.astype(np.float64))
    return scaled * np.sqrt((len(features) - 1) / len(features))


def with_sign_rule(components: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    peaks = components[np.arange(len(components)), np.abs(components).argmax(axis=1)]
    return components * np.sign(peaks)[:, np.newaxis]


def test_equals_scikit_learn(features: npt.NDArray[np.float32], pca: Pca) -> None:
    rows = standardized(features)
    oracle = PCA(12, svd_solver="full").fit(rows)
    components = with_sign_rule(oracle.components_)
    np.testing.assert_allclose(pca.eigenvalues[:12], oracle.explained_variance_, rtol=1e-12)
    np.testing.assert_allclose(pca.ratios[:12], oracle.explained_variance_ratio_, rtol=1e-12)
    np.testing.assert_allclose(pca.components, components, atol=1e-10)
    # Results are stored as float32: half a unit in the last place of values up to 16.
    np.testing.assert_allclose(project(pca, features), rows @ components.T, atol=5e-7)


def test_components_fall_and_their_largest_loading_is_positive(pca: Pca) -> None:
    assert (np.diff(pca.eigenvalues) <= 0).all()
    assert (pca.eigenvalues >= 0).all()
    assert (pca.components[np.arange(12), np.abs(pca.components).argmax(axis=1)] > 0).all()
    np.testing.assert_allclose(pca.components @ pca.components.T, np.eye(12), atol=1e-12)


def test_a_constant_feature_becomes_zero(features: npt.NDArray[np.float32], pca: Pca) -> None:
    assert pca.scale[CONSTANT] == 0.0
    np.testing.assert_allclose(pca.components[:, CONSTANT], 0.0, atol=1e-15)
    other = features.copy()
    other[:, CONSTANT] = 5.0
    np.testing.assert_array_equal(project(pca, other), project(pca, features))


def test_the_variance_of_each_projected_column_is_its_eigenvalue(features: npt.NDArray[np.float32], pca: Pca) -> None:
    values = project(pca, features).astype(np.float64)
    np.testing.assert_allclose(values.var(axis=0, ddof=1), pca.eigenvalues[:12], rtol=1e-6)
    np.testing.assert_allclose(values.mean(axis=0), 0.0, atol=1e-6)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.95, 0.999])
def test_a_share_takes_the_fewest_components_that_explain_it(features: npt.NDArray[np.float32], share: float) -> None:
    pca = fit(features, share)
    k = len(pca.components)
    assert pca.ratios[:k].sum() >= share
    assert pca.ratios[: k - 1].sum() < share
    assert pca.components_for(share) == k
    assert k == max(1, PCA(share, svd_solver="full").fit(standardized(features)).n_components_)


def test_spectrum_lists_every_component(pca: Pca) -> None:
    spectrum = spectrum_table(pca)
    assert spectrum["component"].to_pylist() == list(range(1, WIDTH + 1))
    assert spectrum["eigenvalue"].to_pylist() == pca.eigenvalues.tolist()
    assert spectrum["cumulative_ratio"][-1].as_py() == pytest.approx(1.0)
    assert pca.explained_variance == pytest.approx(spectrum["cumulative_ratio"][11].as_py())


def test_equal_models_give_equal_bytes(features: npt.NDArray[np.float32], pca: Pca) -> None:
    content = dump_pca(pca)
    assert dump_pca(fit(features[::-1], 12)) == content
    assert dump_pca(load_pca(content)) == content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}, (
            "bytes must not hold the time"
        )


def test_a_file_of_before_the_bits_were_promised_still_loads(pca: Pca) -> None:
    sink = io.BytesIO()
    np.savez(sink, mean=pca.mean, scale=pca.scale, components=pca.components, eigenvalues=pca.eigenvalues)
    old = load_pca(sink.getvalue())
    assert (old.tied, old.unsettled, old.rules) == ((), (), "")
    assert old.explained_variance == pca.explained_variance
    assert load_pca(dump_pca(pca)).rules == RULES


def test_a_model_is_never_unpickled() -> None:
    sink = io.BytesIO()
    evil = np.array([{"not": "an array"}], dtype=object)
    np.savez(sink, mean=evil, scale=evil, components=evil, eigenvalues=evil)
    with pytest.raises(ValueError, match="allow_pickle=False"):
        load_pca(sink.getvalue())


@pytest.mark.parametrize("text", ["0", "1281", "1.5", "abc", "-1", "-0.5", "nan", "inf", "-inf", "1e9", ""])
def test_components_that_make_no_sense_are_an_input_error(text: str) -> None:
    with pytest.raises(InputError, match="components cannot be") as error:
        check_components(_number("components", text), MOBILENET_V2.features)
    assert "share such as 0.95" in error.value.hint


@pytest.mark.parametrize(
    ("text", "components"), [("1", 1), ("128", 128), ("1280", 1280), ("0.95", 0.95), ("128.0", 128)]
)
def test_components_that_make_sense(text: str, components: float) -> None:
    checked = check_components(_number("components", text), MOBILENET_V2.features)
    assert checked == components
    assert isinstance(checked, type(components))


@pytest.mark.parametrize(
    ("images", "components", "hint"),
    [
        (128, 128, "Use at least 129 images, or fewer components: --components 127."),
        (2, 2, "Use at least 3 images, or fewer components: --components 1."),
        (1, 1, "Use at least 2 images."),
        (1, 0.95, "Use at least 2 images."),
        (0, 1, "Use at least 2 images."),
    ],
)
def test_too_few_images_are_an_input_error(images: int, components: float, hint: str) -> None:
    with pytest.raises(InputError, match="too few") as error:
        check_enough_images(images, components)
    assert error.value.hint == hint


@pytest.mark.parametrize(("images", "components"), [(129, 128), (2, 1), (2, 0.95)])
def test_one_more_image_than_components_is_enough(images: int, components: float) -> None:
    check_enough_images(images, components)


def test_fitting_checks_the_number_of_images(features: npt.NDArray[np.float32]) -> None:
    with pytest.raises(InputError, match="5 images are too few for 5 components"):
        fit(features[:5], 5)
    assert fit(features[:6], 5).components.shape == (5, WIDTH)


def test_equal_images_have_no_components() -> None:
    with pytest.raises(InputError, match="same features"):
        fit(np.ones((10, 4), np.float32), 2)
