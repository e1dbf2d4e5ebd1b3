"""A network is data: its width, side, range and preprocessing reach every stage; none assumes the default one."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as ds
import pytest

from engines.core import tables
from engines.core.errors import InputError, StageError
from engines.core.networks import prepare
from engines.core.networks.base import Network
from engines.core.networks.model import make_recipe
from engines.core.networks.prepare import prepare_model
from engines.core.networks.table import DEFAULT_NETWORK, NETWORKS, network_named, network_of
from engines.core.reduce.grid import Grid
from engines.core.reduce.moments import moments_of
from engines.core.reduce.pca import dump_pca, fit_pca, load_pca, project
from flows.checks import cache_folder
from flows.options.run import RunSettings
from tests.parity.chain import SequentialEngine, run_chain

EVERY = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)


@EVERY
def test_a_model_s_recipe_names_its_network(network: Network) -> None:
    recipe = make_recipe(b"", network, runtime="litert", weights="random", weights_sha256="0" * 64)
    assert network_of(recipe) is network
    assert network_named(network.name) is network


def test_the_default_is_the_one_whose_outputs_are_published() -> None:
    assert RunSettings().network == DEFAULT_NETWORK == "mobilenet_v2"
    assert NETWORKS[DEFAULT_NETWORK].grid.step == 2.0**-21


def test_what_is_not_known_is_said() -> None:
    with pytest.raises(InputError, match="unknown network 'vgg'") as error:
        network_named("vgg")
    assert "resnet50_v2" in error.value.hint
    with pytest.raises(InputError, match="VGG is not known here"):
        network_of({"architecture": "VGG"})


@EVERY
def test_features_on_the_grid_are_exact_over_the_whole_range(network: Network) -> None:
    grid = network.grid
    ends = np.array([[grid.low, grid.high - grid.step]], np.float32)
    np.testing.assert_array_equal(grid.snap(ends), ends)
    np.testing.assert_array_equal(grid.integers(ends), [[0, 2**24 - 1]])
    for beyond in (np.nextafter(np.float32(grid.low), np.float32(-np.inf)), grid.high):
        with pytest.raises(InputError, match="finite and in") as error:
            grid.snap(np.array([[beyond]], np.float32))
        assert "--network" in error.value.hint


@EVERY
def test_standardization_and_projection_are_those_of_the_features_themselves(network: Network) -> None:
    random = np.random.default_rng(0)
    span = network.grid.high - network.grid.low
    features = network.grid.snap((network.grid.low + span * random.random((40, 12))).astype(np.float32))
    pca = load_pca(dump_pca(fit_pca(moments_of([features[:25], features[25:]], 12, network.grid), 5)))
    wide = features.astype(np.float64)
    np.testing.assert_allclose(pca.mean, wide.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(pca.scale, wide.std(axis=0, ddof=1), rtol=1e-14)
    expected = (wide - wide.mean(axis=0)) / wide.std(axis=0, ddof=1) @ pca.components.T
    np.testing.assert_allclose(project(pca, features), expected, atol=1e-6)


@pytest.mark.parametrize(("low", "high"), [(0.0, 6.0), (0.5, 8.5), (100.0, 228.0), (0.0, 7.5)])
def test_a_range_that_is_no_grid_is_an_error(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="is no range of a grid"):
        Grid(low, high)


def test_a_network_with_negative_features_goes_through_the_chain(photos: Path, tmp_path: Path) -> None:
    model = prepare_model("random", "litert", cache_folder(), "efficientnet_v2_b0")
    run = run_chain(SequentialEngine(), photos, tmp_path / "out", model, components=8, shard_size=8, per_class=2)
    features = tables.to_matrix(ds.dataset(run.output / "features", format="parquet").to_table()["features"])
    assert features.shape == (20, 1280)
    assert features.min() < 0 < features.max()
    np.testing.assert_array_equal(model.network.grid.snap(features), features)
    assert tables.to_matrix(run.results()["pcaFeatures"]).shape == (20, 8)
    assert model.fingerprint != prepare_model("random", "litert", cache_folder()).fingerprint


def test_a_conversion_says_that_it_takes_a_while_and_happens_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    start = subprocess.Popen

    def failing(_: list[str], **options: Any) -> subprocess.Popen[str]:
        return start([sys.executable, "-c", "raise SystemExit('no memory')"], **options)

    monkeypatch.setattr(prepare.subprocess, "Popen", failing)
    with caplog.at_level(logging.INFO, "fruits.model"), pytest.raises(StageError, match="could not be conver") as error:
        prepare_model("random", "litert", tmp_path, "resnet50_v2")
    assert "no memory" in error.value.hint
    assert "converting ResNet50V2 224, once: half a minute" in caplog.text
