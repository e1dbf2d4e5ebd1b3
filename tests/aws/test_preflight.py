"""Mistakes are said before anything is started, each with what to do."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deployments.package import ROOT
from engines.core.errors import FruitsError, InputError
from engines.core.networks.model import library_versions
from engines.emr.archive import Artifacts
from engines.emr.calls import Aws as AwsCalls
from engines.emr.control import open_runner
from engines.emr.settings import EmrSettings
from tests.aws.conftest import Setup, write_archive
from tests.aws.stand_in import StandIn
from tests.s3 import Aws


def refused(setup: Setup, stand_in: StandIn, message: str, name: str = "emr-serverless", **changes: Any) -> FruitsError:
    """The error of a run with these settings; nothing was started, and its hint says something."""
    with setup.engine(name, **changes) as engine, pytest.raises(FruitsError, match=message) as caught:
        setup.to_first_job(engine)
    assert stand_in.serverless.runs == {}
    assert stand_in.clusters.clusters == {}
    assert caught.value.hint
    return caught.value


def test_a_role_that_does_not_exist(setup: Setup, stand_in: StandIn):
    refused(setup, stand_in, "role .* does not exist", execution_role="arn:aws:iam::123456789012:role/nobody")


def test_a_role_of_another_service(setup: Setup, stand_in: StandIn, roles: dict[str, str]):
    refused(setup, stand_in, r"does not trust emr-serverless\.amazonaws\.com", execution_role=roles["other"])


def test_no_role(setup: Setup, stand_in: StandIn):
    refused(setup, stand_in, "no role was given as execution_role", execution_role="")


def test_a_role_that_may_not_be_passed(setup: Setup, stand_in: StandIn):
    stand_in.faults.deny["StartJobRun"] = "User is not authorized to perform: iam:PassRole"
    assert "iam:PassRole" in refused(setup, stand_in, "could not be started").hint


def test_a_missing_bucket(setup: Setup, stand_in: StandIn):
    setup.output = "s3://no-such-bucket-anywhere/output"
    refused(setup, stand_in, "the bucket no-such-bucket-anywhere does not exist")


def test_a_bucket_in_another_region(setup: Setup, stand_in: StandIn, aws: Aws):
    aws.client().create_bucket(Bucket="far-away", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    setup.output = "s3://far-away/output"
    refused(setup, stand_in, "far-away is in eu-central-1, but the jobs would run in us-east-1")


def test_an_application_in_another_region(setup: Setup, stand_in: StandIn, aws: Aws, small_archive: Path):
    """The bucket is in the region that was given; the application is not."""
    aws.client().create_bucket(Bucket="near", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    settings = replace(setup.settings, region="eu-west-1", artifacts="s3://near/artifacts")
    Artifacts(settings, AwsCalls(settings)).push(small_archive)
    setup.source, setup.output = "s3://near/photos", "s3://near/output"
    refused(setup, stand_in, "00emr in eu-west-1 cannot be used", region="eu-west-1", artifacts="s3://near/artifacts")


def test_a_folder_as_source(setup: Setup, stand_in: StandIn):
    setup.source = "/data/photos"
    assert "aws s3 sync" in refused(setup, stand_in, "the source /data/photos is not on S3").hint


def test_no_archive(setup: Setup, stand_in: StandIn, aws: Aws):
    place = f"s3://{aws.new_bucket()}/empty"
    assert "fruits emr push" in refused(setup, stand_in, "no archive for x86_64 was pushed", artifacts=place).hint


def test_an_archive_that_was_removed(setup: Setup, stand_in: StandIn, aws: Aws, small_archive):
    settings = replace(setup.settings, artifacts=f"s3://{aws.new_bucket()}/removed")
    artifacts = Artifacts(settings, AwsCalls(settings))
    artifacts.push(small_archive)
    bucket, key = settings.artifacts[5:].split("/")[0], f"removed/archives/{small_archive.name}"
    aws.client().delete_object(Bucket=bucket, Key=key)
    refused(setup, stand_in, re.escape(key), artifacts=settings.artifacts)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"python": "3.12.4"}, r"has Python 3\.12, but emr-7\.13\.0 takes 3\.11"),
        ({"architecture": "arm64"}, "no archive for x86_64|is x86_64, but the archive is arm64"),
        ({"code": "0000"}, "built from other code"),
        ({"glibc": "2.99"}, r"needs glibc 2\.99"),
        ({"libraries": library_versions("litert") | {"pillow": "1.0"}}, r"has pillow 1\.0 and not [\d.]+ as here"),
        ({"libraries": {}}, "pillow of no known version and not .*, ai-edge-litert of no known version"),
    ],
    ids=["python minor", "architecture", "code", "glibc", "another Pillow", "an old manifest"],
)
def test_an_archive_that_does_not_fit(
    setup: Setup, stand_in: StandIn, aws: Aws, tmp_path, facts: dict[str, Any], message: str
):
    settings = replace(setup.settings, artifacts=f"s3://{aws.new_bucket()}/unfit")
    Artifacts(settings, AwsCalls(settings)).push(write_archive(tmp_path, **facts))
    refused(setup, stand_in, message, artifacts=settings.artifacts)


@pytest.mark.parametrize("release", ["emr-6.9.0", "emr-spark-8.2.0", "emr-spark-9.0.0", "emr-7.13.0-latest"])
def test_a_release_of_another_spark_line(setup: Setup, stand_in: StandIn, release: str):
    """emr-spark-8.2.0 may have any Spark: only its label begins like that of a release that is tested."""
    stand_in.serverless.application["releaseLabel"] = release
    message = f"the EMR release {release} is not supported"
    assert "emr-7.x (Spark 3.5)" in refused(setup, stand_in, message).hint
    error = refused(setup, stand_in, message, name="emr-cluster", release_label=release)
    assert "emr-spark-8.0.x (Spark 4.0)" in error.hint


@pytest.mark.parametrize(
    ("release", "spark"), [("emr-7.13.0", "3.5"), ("emr-spark-8.0.0", "4.0"), ("emr-spark-8.1.0", "4.1")]
)
def test_the_spark_line_of_the_release_is_said(
    setup: Setup, stand_in: StandIn, release: str, spark: str, caplog: pytest.LogCaptureFixture
):
    caplog.set_level("INFO", "fruits.emr")
    stand_in.serverless.application["releaseLabel"] = release
    for name in ("emr-serverless", "emr-cluster"):
        with setup.engine(name, release_label=release) as engine:
            engine._check(setup.source, setup.output)
    assert caplog.text.count(f"{release} (Spark {spark})") == 2


def test_a_python_that_no_line_is_tested_with(setup: Setup, stand_in: StandIn, aws: Aws, tmp_path):
    settings = replace(setup.settings, artifacts=f"s3://{aws.new_bucket()}/unfit")
    Artifacts(settings, AwsCalls(settings)).push(write_archive(tmp_path, python="3.14.0"))
    stand_in.serverless.application["releaseLabel"] = "emr-spark-8.0.0"
    refused(setup, stand_in, r"Python 3\.14, but emr-spark-8\.0\.0 takes 3\.11", artifacts=settings.artifacts)


def test_a_profile_that_does_not_exist(setup: Setup, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    error = refused(setup, stand_in, r"config profile \(nobody\) could not be found")
    assert "AWS_PROFILE" in error.hint


def test_half_a_pair_of_keys(setup: Setup, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    refused(setup, stand_in, "Partial credentials")


def test_a_quota_too_small_for_one_executor(setup: Setup, stand_in: StandIn):
    stand_in.quotas.vcpus = 5.0
    error = refused(setup, stand_in, r"the quota of EMR Serverless in us-east-1 of 5 vCPU does not hold .* \(6 vCPU")
    assert "Max concurrent vCPUs per account" in error.hint


def test_a_new_account_gets_no_more_executors_than_its_quota(
    setup: Setup, stand_in: StandIn, caplog: pytest.LogCaptureFixture
):
    caplog.set_level("INFO", "fruits.emr")
    stand_in.quotas.vcpus = 16.0
    with setup.engine(executors=9) as engine:
        setup.featurize(engine)
    (run,) = stand_in.serverless.runs.values()
    assert "spark.executor.instances=3 " in run.request["jobDriver"]["sparkSubmit"]["sparkSubmitParameters"]
    assert "quota: 16 vCPU for all jobs of the account in us-east-1" in caplog.text
    assert "3 executors and not 9, because of the quota" in caplog.text


@pytest.mark.parametrize("reason", ["denied", "unknown", "unreachable"])
def test_a_quota_that_cannot_be_read_is_said_and_keeps_no_job(
    setup: Setup, stand_in: StandIn, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, reason: str
):
    caplog.set_level("INFO", "fruits.emr")
    if reason == "denied":
        stand_in.faults.deny["GetServiceQuota"] = "not authorized to perform: servicequotas:GetServiceQuota"
    elif reason == "unknown":
        monkeypatch.setattr("engines.emr.quota.VCPU_QUOTA", "L-00000000")
    else:
        stand_in.faults.lose_before["GetServiceQuota"] = 1
    with setup.engine() as engine:
        assert engine.index(setup.index_request()).listed
    assert caplog.text.count("quota of vCPUs: not checked, ") == 1


def test_status_without_settings_says_what_is_missing(setup: Setup, stand_in: StandIn):
    runner = open_runner("emr-serverless", EmrSettings())
    for call in (runner.find, lambda: runner.poll("00job"), lambda: runner.billed("run")):
        with pytest.raises(InputError, match="no EMR Serverless application was given") as caught:
            call()
        assert "application_id" in caught.value.hint
    assert stand_in.calls == []


def test_hints_name_only_outputs_that_the_stack_has():
    """A hint names an output as: the output `NAME`."""
    template = (ROOT / "deployments" / "emr" / "template.yaml").read_text()
    outputs = re.findall(r"^  (\w+):$", template.partition("\nOutputs:\n")[2], re.MULTILINE)
    texts = [path.read_text() for path in (ROOT / "engines" / "emr").glob("*.py")]
    named = [name for text in texts for name in re.findall(r"output `(\w+)`", text)]
    assert named
    assert set(named) <= set(outputs)
    assert not [text for text in texts if "prints it" in text or "prints them" in text]


def test_an_unknown_application(setup: Setup, stand_in: StandIn):
    refused(setup, stand_in, "the EMR Serverless application 00other", application_id="00other")


def test_a_cluster_without_a_subnet(setup: Setup, stand_in: StandIn):
    refused(setup, stand_in, "no subnet_id", name="emr-cluster", subnet_id="")


def test_an_unknown_cluster(setup: Setup, stand_in: StandIn):
    refused(setup, stand_in, "j-NONE cannot be used", name="emr-cluster", cluster_id="j-NONE")


def test_workers_that_emr_does_not_have(setup: Setup, stand_in: StandIn):
    refused(setup, stand_in, "an executor cannot have 3 vCPU", executor_cores=3)


def test_push_uploads_only_what_is_missing(setup: Setup, aws: Aws, small_archive):
    settings = replace(setup.settings, artifacts=f"s3://{aws.new_bucket()}/push")
    artifacts = Artifacts(settings, AwsCalls(settings))
    assert len(artifacts.push(small_archive)) == 3
    assert artifacts.push(small_archive) == []
