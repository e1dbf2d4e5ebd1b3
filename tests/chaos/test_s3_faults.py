"""Faults of S3: what heals is survived without a loss, what does not ends the run in bounded time with its cause."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow.dataset as ds
import pyarrow.fs
import pytest

from engines.core import tables
from engines.core.output import read_record
from tests.chaos.faulty_s3 import FAULTS, FaultyS3, faulty_s3, now_and_then
from tests.chaos.runs import Chaos
from tests.chaos.suite import SEED
from tests.conftest import write_photos
from tests.s3 import Aws

pytestmark = pytest.mark.long

IMAGES = 60


@pytest.fixture(scope="module")
def s3(aws: Aws) -> Iterator[FaultyS3]:
    with faulty_s3(aws.endpoint, _never) as running:
        yield running


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("s3") / "photos", images=IMAGES, classes=4)


@pytest.fixture
def chaos(
    aws: Aws, bucket: str, s3: FaultyS3, photos: Path, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Chaos]:
    """Runs of photos on S3 by Dask, through the proxy."""
    aws.put(bucket, {f"photos/{path.relative_to(photos)}": path.read_bytes() for path in photos.rglob("*.jpg")})
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    s3.met.clear()
    s3.asked.clear()
    yield Chaos(f"s3://{bucket}/photos", weights, ("--workers", "2"), tmp_path, tmp_path / "orders.json")
    s3.rule = _never


def test_of_ten_requests_one_fails_and_nothing_is_lost(
    chaos: Chaos, s3: FaultyS3, aws: Aws, bucket: str, tmp_path: Path
) -> None:
    chaos.finish(tmp_path / "plain", place=f"s3://{bucket}/plain")
    s3.rule = now_and_then(SEED, 0.1)
    print(f"seed {SEED}")
    chaos.finish(tmp_path / "faulty", place=f"s3://{bucket}/faulty")
    print(f"{sum(s3.asked.values())} requests, faults: {dict(s3.met)}")
    assert set(s3.met) == set(FAULTS)
    s3.rule = _never
    assert _rows(aws, bucket, "faulty") == _rows(aws, bucket, "plain")
    assert len(_rows(aws, bucket, "plain")) == IMAGES


def test_an_outage_that_lasts_ends_the_run_with_its_cause(
    chaos: Chaos, s3: FaultyS3, bucket: str, tmp_path: Path
) -> None:
    s3.rule = lambda *_: "503"
    ended = chaos.run(tmp_path / "output", place=f"s3://{bucket}/out", retry_seconds=3)
    assert ended.code == 1, ended.errors
    assert "SlowDown: a fault for a test" in ended.errors
    assert "Traceback" not in ended.errors


def test_an_outage_while_photos_are_read_ends_the_run_with_its_cause(
    chaos: Chaos, s3: FaultyS3, bucket: str, tmp_path: Path
) -> None:
    s3.rule = lambda method, path, _: "500" if method == "GET" and path.endswith("003.jpg") else None
    ended = chaos.run(tmp_path / "output", place=f"s3://{bucket}/out", retry_seconds=3)
    assert ended.code == 1, ended.errors
    assert "003.jpg" in ended.errors
    assert "InternalError: a fault for a test" in ended.errors
    assert "Traceback" not in ended.errors
    s3.rule = _never
    chaos.finish(tmp_path / "output", place=f"s3://{bucket}/out")


def test_a_photo_that_may_not_be_read_ends_the_run_and_is_named(
    chaos: Chaos, s3: FaultyS3, bucket: str, tmp_path: Path
) -> None:
    s3.rule = lambda method, path, _: "403" if method == "GET" and path.endswith("003.jpg") else None
    ended = chaos.run(tmp_path / "output", place=f"s3://{bucket}/out")
    assert ended.code == 1, ended.errors
    assert f"access to s3://{bucket}/photos/" in ended.errors
    assert "003.jpg was denied (AccessDenied: a fault for a test)" in ended.errors


def test_a_photo_that_is_gone_each_time_it_is_read_is_a_reject(
    chaos: Chaos, s3: FaultyS3, bucket: str, tmp_path: Path
) -> None:
    s3.rule = lambda method, path, _: "404" if method == "GET" and path.endswith("003.jpg") else None
    ended = chaos.run(tmp_path / "output", "--max-rejects", "0.1", place=f"s3://{bucket}/out")
    assert ended.code == 0, ended.errors
    assert "replaced or removed since they were listed; the source is listed again" in ended.errors
    record = read_record(f"s3://{bucket}/out")
    assert record.rejected_by_reason.keys() == {"missing"}
    assert record.counts.featurized == IMAGES - record.counts.rejected


@pytest.mark.parametrize("engine", ["dask", "spark"])
def test_no_secret_is_in_what_a_run_writes_or_says(
    chaos: Chaos, aws: Aws, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    secrets = {"AWS_SECRET_ACCESS_KEY": "hush-hush-key", "AWS_SESSION_TOKEN": "hush-hush-token"}
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    ended = chaos.finish(tmp_path / "output", "--engine", engine, "--verbose", place=f"s3://{bucket}/out")
    assert "hush" not in ended.errors
    written = [key for key in aws.keys(bucket) if key.startswith("out/")]
    assert {"out/run.json", "out/report.html"} < set(written)
    for key in written:
        assert b"hush" not in aws.client().get_object(Bucket=bucket, Key=key)["Body"].read(), key


def _never(_method: str, _path: str, _number: int) -> None:
    return None


def _rows(aws: Aws, bucket: str, output: str) -> dict[str, bytes]:
    """The published rows, by path."""
    record = read_record(f"s3://{bucket}/{output}")
    filesystem = pyarrow.fs.S3FileSystem(endpoint_override=aws.endpoint, region="us-east-1")
    keys = [f"{bucket}/{output}/{part.key}" for part in record.parts]
    table = ds.dataset(keys, format="parquet", filesystem=filesystem).to_table()
    rows = tables.to_matrix(table["pcaFeatures"])
    return {path: row.tobytes() for path, row in zip(table["path"].to_pylist(), rows, strict=True)}
