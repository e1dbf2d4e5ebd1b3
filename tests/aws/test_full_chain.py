"""The whole chain with real jobs: spark-submit of each Spark line, in the one archive, from S3 to S3."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from engines.base import FeaturizeRequest, FitRequest, IndexRequest, ProjectRequest
from engines.core.errors import FruitsError
from engines.core.index.selection import Selection
from engines.core.networks.model import publish_model
from engines.dask.engine import DaskEngine
from tests.aws.conftest import PHOTOS, Setup, objects, whole_run
from tests.aws.spark_jobs import ROLE_SECRET, ROLE_TOKEN, need_spark
from tests.aws.stand_in import StandIn

SECONDS = 540
pytestmark = [whole_run, pytest.mark.timeout(600)]

SPARK = {"emr-7.13.0": "3.5.6", "emr-spark-8.0.0": "4.0.2", "emr-spark-8.1.0": "4.1.1"}
"""EMR release -> the Spark that it has."""

CALLER_SECRET = "secret-of-the-caller-" + "z" * 20


@pytest.fixture(scope="module")
def laptop(aws, places, model) -> dict[str, str]:
    """sha256 of each part of the results of Dask on this machine, by name."""
    source, _ = places
    output = f"s3://{aws.new_bucket()}/laptop"
    with DaskEngine(workers=1) as engine:
        indexed = engine.index(IndexRequest(source, output, Selection(shard_size=6)))
        publish_model(model, output)
        featurized = engine.featurize(FeaturizeRequest(source, output, indexed.catalog, model.fingerprint))
        fitted = engine.fit_pca(FitRequest(output, indexed.catalog, model.fingerprint, 8, content=featurized.content))
        projected = engine.project(ProjectRequest(output, indexed.catalog, model.fingerprint, fitted.pca))
    return {str(part["key"]): str(part["sha256"]) for part in projected.parts}


def sha256_of_parts(output: str, keys: list[str]) -> dict[str, str]:
    prefix = output.removeprefix("s3://").partition("/")[2]
    found = objects(output)
    return {key: hashlib.sha256(found[f"{prefix}/{key}"]).hexdigest() for key in keys}


def test_serverless_by_the_command_line_is_byte_identical_to_the_laptop(
    make_setup: Callable[[Path], Setup],
    archive: Path,
    stand_in: StandIn,
    laptop: dict[str, str],
    weights: str,
    tmp_path: Path,
):
    need_spark("emr-7.13.0")
    setup = make_setup(archive)
    settings = {name: value for name, value in asdict(setup.settings).items() if value not in (None, "")}
    config = tmp_path / "fruits.toml"
    config.write_text("[emr]\n" + "\n".join(f"{name} = {json.dumps(value)}" for name, value in settings.items()))
    options = [
        "--engine",
        "emr-serverless",
        "--config",
        str(config),
        "--components",
        "8",
        "--shard-size",
        "6",
        "--weights",
        weights,
        "--max-cost",
        "5",
    ]
    environment = {**os.environ, "AWS_SECRET_ACCESS_KEY": CALLER_SECRET, "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "run", setup.source, setup.output, *options],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert "estimate for featurize of 24 images" in done.stderr
    assert sha256_of_parts(setup.output, list(laptop)) == laptop

    written = objects(setup.output)
    record = json.loads(next(content for key, content in written.items() if key.endswith("/run.json")))
    assert record["engine"] == "emr-serverless"
    assert record["counts"]["projected"] == PHOTOS
    assert record["engine_details"]["spark"] == "3.5.6"
    (run,) = stand_in.serverless.runs.values()
    billed = [stand_in.serverless._billed(run)]
    details = record["engine_details"]
    assert details["vcpu_hours"] == pytest.approx(sum(one["vCPUHour"] for one in billed))
    assert details["memory_gb_hours"] == pytest.approx(sum(one["memoryGBHour"] for one in billed))
    expected = details["vcpu_hours"] * 0.052624 + details["memory_gb_hours"] * 0.0057785
    assert details["cost_usd"] == pytest.approx(expected, abs=1e-4)
    print("\nestimate and cost:", *[line for line in done.stderr.splitlines() if "estimate" in line], sep="\n  ")
    print(json.dumps(details, indent=1))

    everything = {**written, **objects(setup.settings.artifacts), "stdout": done.stdout.encode()}
    everything["stderr"] = done.stderr.encode()
    everything["requests"] = json.dumps([parameters for _, parameters in stand_in.calls], default=str).encode()
    for secret in (CALLER_SECRET, ROLE_SECRET, ROLE_TOKEN, "dashboard-secret"):
        assert [name for name, content in everything.items() if secret.encode() in content] == []
    assert stand_in.settle() == []


@pytest.mark.parametrize(
    ("name", "release"),
    [
        ("emr-cluster", "emr-7.13.0"),
        ("emr-serverless", "emr-spark-8.0.0"),
        ("emr-cluster", "emr-spark-8.0.0"),
        ("emr-serverless", "emr-spark-8.1.0"),
        ("emr-cluster", "emr-spark-8.1.0"),
    ],
)
def test_the_chain_is_byte_identical_to_the_laptop(
    make_setup: Callable[[Path], Setup],
    archive: Path,
    stand_in: StandIn,
    laptop: dict[str, str],
    tmp_path: Path,
    name: str,
    release: str,
):
    """On each Spark line; the release of a Serverless job is its application's, that of a cluster is asked for."""
    need_spark(release)
    stand_in.serverless.application["releaseLabel"] = release
    setup = make_setup(archive)
    said = []
    folder = str(tmp_path / "fruit-features")
    with setup.engine(name, unpack_folder=folder, release_label=release) as engine:
        engine.on_progress = said.append
        featurized, parts = setup.chain(engine)
        facts = engine.describe()
    assert featurized.featurized == PHOTOS
    assert {str(part["key"]): str(part["sha256"]) for part in parts} == laptop
    assert sha256_of_parts(setup.output, list(laptop)) == laptop
    assert facts["spark"] == SPARK[release]
    assert facts["python"].startswith("3.11.")
    assert facts["cost_usd"] >= 0
    assert (said[-1].stage, said[-1].done, said[-1].total) == ("project", PHOTOS, PHOTOS)
    assert stand_in.settle() == []
    if name == "emr-cluster":
        (cluster,) = stand_in.clusters.clusters.values()
        assert (cluster.state, cluster.request["ReleaseLabel"]) == ("TERMINATED", release)


def test_a_stage_that_fails_in_spark_is_explained_here(
    make_setup: Callable[[Path], Setup], archive: Path, stand_in: StandIn
):
    """The error is raised by a real job, and neither by the stand-in nor by Spark."""
    setup = make_setup(archive)
    catalog = setup.indexed().catalog
    with setup.engine() as engine, pytest.raises(FruitsError, match="models/unknown") as caught:
        engine.featurize(FeaturizeRequest(setup.source, setup.output, catalog, "unknown"))
    assert "driver's log" not in caught.value.hint
    (run,) = stand_in.serverless.runs.values()
    assert run.state == "FAILED"
