"""The stand-in for EMR, an archive that jobs run in, and images on S3."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import pytest

from deployments.interpreter import RELEASE_FOLDER
from deployments.package import ROOT, build
from engines.base import FeaturizeReport, FeaturizeRequest, FitRequest, IndexReport, IndexRequest, ProjectRequest
from engines.core.index.selection import Selection
from engines.core.networks.model import Model, library_versions, publish_model
from engines.emr.archive import RELEASE_INTERPRETER, Artifacts, Manifest, code_digest
from engines.emr.calls import Aws as AwsCalls
from engines.emr.engine import EmrClusterEngine, EmrEngine, EmrServerlessEngine
from engines.emr.settings import EmrSettings
from tests.aws import spark_jobs
from tests.aws.setup_terminal import Terminal
from tests.aws.stand_in import ACCOUNT, REGION, StandIn
from tests.conftest import write_photos
from tests.s3 import Aws

PHOTOS = 24

whole_run = pytest.mark.emr_runs
"""For tests of real jobs or whole runs; see the marker in pyproject.toml."""

ENGINES = {"emr-serverless": EmrServerlessEngine, "emr-cluster": EmrClusterEngine}


@pytest.fixture(autouse=True, scope="session")
def _models_are_read_once() -> Iterator[None]:
    """Each session of boto3 reads AWS's models anew, which took most of the time of most tests here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.session, "create_loader", functools.cache(botocore.session.create_loader))
        yield


def trust(service: str) -> str:
    statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@pytest.fixture(scope="session")
def roles(aws: Aws) -> dict[str, str]:
    """Roles of the jobs and of clusters, and one that trusts neither."""
    iam = aws.client("iam")
    services = {
        "jobs": "emr-serverless.amazonaws.com",
        "clusters": "elasticmapreduce.amazonaws.com",
        "other": "ec2.amazonaws.com",
    }
    return {
        name: iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust(service))["Role"]["Arn"]
        for name, service in services.items()
    }


@pytest.fixture
def stand_in(aws: Aws, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StandIn]:
    """The server in place of EMR, with this process and its children pointed at it; no request of ours was invalid."""
    server = StandIn(aws.endpoint, tmp_path)
    for name in ("EMR_SERVERLESS", "EMR", "SERVICE_QUOTAS", "CLOUDFORMATION", "STS", "IAM"):
        monkeypatch.setenv(f"AWS_ENDPOINT_URL_{name}", server.endpoint)
    yield server
    server.close()
    assert server.rejected == []


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real archive of this code: the one in dist/emr when it is of this code, else built now (about a minute).

    Its jobs use the Python that EMR's image has at this place, as Debian 12 does; elsewhere they are skipped.
    """
    python = Path(RELEASE_FOLDER, "python3.11")
    if platform.machine() != "x86_64" or not python.exists():
        pytest.skip(f"jobs in the archive need x86-64 and {python}, as EMR's image has it")
    for path in sorted((ROOT / "dist" / "emr").glob("*-x86_64-*.json")):
        manifest = Manifest.load(path.read_text())
        if (manifest.code, manifest.interpreter) == (code_digest(), RELEASE_INTERPRETER):
            return path.with_name(f"{manifest.name}.tar.gz")
    return build("3.11", "release", tmp_path_factory.mktemp("package"), "x86_64")[0]


@pytest.fixture(scope="session")
def small_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a manifest, for tests whose jobs do not run in it."""
    return write_archive(tmp_path_factory.mktemp("small"), python="3.11.7")


def write_archive(folder: Path, **facts: Any) -> Path:
    content = b"not run by this test"
    path = folder / "small.tar.gz"
    path.write_bytes(content)
    manifest = Manifest(
        **{
            "name": "small",
            "version": "0",
            "python": "3.11.7",
            "architecture": "x86_64",
            "glibc": "2.17",
            "interpreter": "none",
            "lock": "0",
            "code": code_digest(),
            "sha256": hashlib.sha256(content).hexdigest(),
            "size": len(content),
            "libraries": library_versions("litert"),
            **facts,
        }
    )
    path.with_name("small.json").write_bytes(manifest.dump())
    return path


@pytest.fixture(scope="session")
def places(aws: Aws, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A source of PHOTOS images of 3 classes on S3, and a bucket for artifacts."""
    photos = write_photos(tmp_path_factory.mktemp("emr-photos"), images=PHOTOS, classes=3)
    source, artifacts = aws.new_bucket(), aws.new_bucket()
    aws.put(source, {str(path.relative_to(photos)): path.read_bytes() for path in photos.rglob("*.jpg")})
    return f"s3://{source}", f"s3://{artifacts}/fruits"


@dataclass
class Setup:
    """What a test of an engine needs: settings, places, and the chain up to a stage."""

    settings: EmrSettings
    source: str
    output: str
    model: Model

    def engine(self, name: str = "emr-serverless", run: str = "run-1", **changes: Any) -> EmrEngine:
        return ENGINES[name](replace(self.settings, **changes), run)

    def index_request(self) -> IndexRequest:
        return IndexRequest(self.source, self.output, Selection(shard_size=6))

    def featurize_request(self, indexed: IndexReport) -> FeaturizeRequest:
        publish_model(self.model, self.output)
        return FeaturizeRequest(self.source, self.output, indexed.catalog, self.model.fingerprint)

    def indexed(self) -> IndexReport:
        """The index, made here."""
        return spark_jobs.SequentialEngine().index(self.index_request())

    def featurize(self, engine: EmrEngine) -> FeaturizeReport:
        """The first stage that needs a job, over an index that was made here."""
        return engine.featurize(self.featurize_request(self.indexed()))

    def to_first_job(self, engine: EmrEngine) -> FeaturizeReport:
        """The chain up to the first stage that needs a job."""
        return engine.featurize(self.featurize_request(engine.index(self.index_request())))

    def chain(self, engine: EmrEngine) -> tuple[FeaturizeReport, list[dict[str, Any]]]:
        """All four stages; what was featurized, and the parts of the results."""
        indexed = engine.index(self.index_request())
        featurized = engine.featurize(self.featurize_request(indexed))
        fitted = engine.fit_pca(
            FitRequest(self.output, indexed.catalog, self.model.fingerprint, 8, content=featurized.content)
        )
        projected = engine.project(ProjectRequest(self.output, indexed.catalog, self.model.fingerprint, fitted.pca))
        return featurized, projected.parts


@pytest.fixture
def make_setup(aws: Aws, roles: dict[str, str], places: tuple[str, str], model: Model) -> Callable[[Path], Setup]:
    """A Setup whose jobs use the given archive, with an output of its own."""

    def make(archive: Path) -> Setup:
        source, artifacts = places
        settings = EmrSettings(
            region=REGION,
            artifacts=f"{artifacts}/{archive.name[:40]}",
            application_id="00emr",
            execution_role=roles["jobs"],
            service_role=roles["clusters"],
            instance_profile="fruits-instances",
            subnet_id="subnet-0123456789abcdef0",
            poll_seconds=0.01,
            max_poll_seconds=0.1,
            patience_seconds=10.0,
            log_wait_seconds=1.0,
        )
        Artifacts(settings, AwsCalls(settings)).push(archive)
        return Setup(settings, source, f"s3://{aws.new_bucket()}/features", model)

    return make


@pytest.fixture
def setup(make_setup: Callable[[Path], Setup], small_archive: Path, stand_in: StandIn) -> Setup:
    """A Setup for tests of what happens around jobs; these run in this process."""
    stand_in.serverless.work = spark_jobs.serial
    stand_in.clusters.work = spark_jobs.serial
    return make_setup(small_archive)


@pytest.fixture
def terminal(
    tmp_path: Path,
    small_archive: Path,
    stand_in: StandIn,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Terminal:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    monkeypatch.setenv("COLUMNS", "200")
    for name, value in {"POLL_SECONDS": "0.01", "PATIENCE_SECONDS": "5", "LOG_WAIT_SECONDS": "1"}.items():
        monkeypatch.setenv(f"FRUITS_EMR_{name}", value)
    return Terminal(tmp_path, small_archive, capsys, monkeypatch)


@pytest.fixture
def emr_environment(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> Setup:
    """The settings in FRUITS_EMR_* variables, for processes that a test starts."""
    for name, value in asdict(setup.settings).items():
        if value not in (None, ""):
            monkeypatch.setenv(f"FRUITS_EMR_{name.upper()}", str(value))
    return setup


def objects(location: str) -> dict[str, bytes]:
    """Every object below an S3 location."""
    bucket, prefix = spark_jobs.split_s3(location)
    client = boto3.client("s3")
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
    return {key: client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}


__all__ = ["ACCOUNT", "PHOTOS", "Setup", "objects", "whole_run", "write_archive"]
