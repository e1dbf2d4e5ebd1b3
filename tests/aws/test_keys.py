"""A KMS key that does not let somebody in: said with its key and what to do, by whoever meets it first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from engines.core.errors import FruitsError, InputError, StageError, StorageError
from tests.aws import spark_jobs
from tests.aws.conftest import PHOTOS, Setup, objects
from tests.aws.jobs import jobs_started
from tests.aws.setup_terminal import Terminal, refused
from tests.aws.stand_in import ACCOUNT, REGION, StandIn
from tests.chaos.faulty_s3 import faulty_s3
from tests.s3 import Aws
from tests.s3_answers import Answer
from tests.s3_answers import refused as answer_refused

KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/0a"


@dataclass
class LockedS3:
    """S3 that encrypts `locked` buckets by a key whose policy lets nobody in: objects are listed, and neither read nor
    written. HEAD needs no key.
    """

    locked: set[str] = field(default_factory=set)
    reads: bool = True
    writes: bool = True

    def answer(self, method: str, path: str, _: int) -> Answer | None:
        bucket, _, key = path.partition("?")[0].strip("/").partition("/")
        asked = {"GET": "kms:Decrypt" if self.reads else "", "PUT": "kms:GenerateDataKey" if self.writes else ""}
        action = asked.get(method)
        if bucket not in self.locked or not key or not action:
            return None
        caller = f"arn:aws:sts::{ACCOUNT}:assumed-role/jobs/session"
        return answer_refused(
            "AccessDenied",
            f"User: {caller} is not authorized to perform: {action} on resource: {KEY} because no resource-based "
            f"policy allows the {action} action",
        )


@pytest.fixture
def locked(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Iterator[LockedS3]:
    keys = LockedS3()
    with faulty_s3(aws.endpoint, keys.answer) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        yield keys


@pytest.fixture
def setup(setup: Setup, locked: LockedS3, aws: Aws) -> Setup:
    """With images of its own: the connection to a place is kept, and here it goes by way of the keys."""
    bucket = aws.new_bucket()
    aws.put(bucket, objects(setup.source))
    setup.source = f"s3://{bucket}"
    return setup


def bucket_of(location: str) -> str:
    return spark_jobs.split_s3(location)[0]


def says_what_to_do(error: FruitsError, action: str) -> None:
    assert f"{action} on resource: {KEY}" in error.message
    assert "kms:Decrypt" in error.hint
    assert "kms:GenerateDataKey" in error.hint


def test_init_reads_an_image_before_it_makes_anything(
    terminal: Terminal, stand_in: StandIn, locked: LockedS3, aws: Aws, bucket: str
):
    aws.put(bucket, {"p/Apple/1.jpg": b"1"})
    locked.locked = {bucket}
    done = terminal.init("--yes", "--source", f"s3://{bucket}/p")
    refused(done, f"the images below s3://{bucket}/p cannot be read", "SourceKmsKey")
    assert f"kms:Decrypt on resource: {KEY}" in done.stderr
    assert stand_in.count("CreateStack") == 0


@pytest.mark.long
def test_init_cannot_write_into_the_bucket_that_it_has_made(terminal: Terminal, stand_in: StandIn, locked: LockedS3):
    """The key of BucketKmsKey: whether its policy lets anybody in shows when the archive is written."""
    locked.locked = {terminal.bucket}
    done = terminal.init("--yes", "--parameter", f"BucketKmsKey={KEY}")
    refused(done, f"kms:GenerateDataKey on resource: {KEY}", "The key's own policy has to let this account use it")
    assert "The stack is there; run `fruits emr init` again." in " ".join(done.stderr.split())
    locked.locked.clear()
    again = terminal.init("--yes")
    assert again.returncode == 0, again.stderr
    assert stand_in.count("CreateStack") == 1


def test_an_archive_that_cannot_be_decrypted_is_said_before_a_job_starts(
    setup: Setup, stand_in: StandIn, locked: LockedS3
):
    locked.locked = {bucket_of(setup.settings.artifacts)}
    with setup.engine() as engine, pytest.raises(InputError, match=r"current-x86_64\.json cannot be read") as caught:
        setup.to_first_job(engine)
    says_what_to_do(caught.value, "kms:Decrypt")
    assert jobs_started(stand_in) == 0


def test_an_output_that_cannot_be_encrypted_is_said_before_a_job_starts(
    setup: Setup, stand_in: StandIn, locked: LockedS3
):
    locked.locked, locked.reads = {bucket_of(setup.output)}, False  # there is nothing yet to be read
    with setup.engine() as engine, pytest.raises(StorageError, match=r"access to .* was denied") as caught:
        setup.to_first_job(engine)
    says_what_to_do(caught.value, "kms:GenerateDataKey")
    assert jobs_started(stand_in) == 0


@pytest.mark.long
def test_images_that_only_the_jobs_can_read_are_warned_of_and_read(
    setup: Setup, stand_in: StandIn, locked: LockedS3, caplog: pytest.LogCaptureFixture
):
    locked.locked = {bucket_of(setup.source)}

    def let_in(_: spark_jobs.Work) -> None:
        locked.locked.clear()

    stand_in.serverless.work = spark_jobs.before("featurize", let_in)
    with setup.engine() as engine:
        assert setup.to_first_job(engine).featurized == PHOTOS
    (warned,) = [record.getMessage() for record in caplog.records if "cannot be read" in record.getMessage()]
    assert f"kms:Decrypt on resource: {KEY}" in warned
    assert "The jobs try it by their own role." in warned
    assert "SourceKmsKey" in warned


def test_images_that_the_jobs_cannot_decrypt_fail_the_stage_with_the_key(
    setup: Setup, stand_in: StandIn, locked: LockedS3
):
    def lock_out(_: spark_jobs.Work) -> None:
        locked.locked = {bucket_of(setup.source)}

    stand_in.serverless.work = spark_jobs.before("featurize", lock_out)
    with setup.engine() as engine, pytest.raises(StorageError, match=r"access to .* was denied") as caught:
        setup.to_first_job(engine)
    says_what_to_do(caught.value, "kms:Decrypt")
    assert stand_in.settle() == []
    assert jobs_started(stand_in) == 1


@pytest.mark.long
def test_an_output_that_the_jobs_cannot_encrypt_fails_the_stage_with_the_key(
    setup: Setup, stand_in: StandIn, locked: LockedS3
):
    """The job can say nothing then, as it says it in the output: its own word is in its log."""
    locked.reads = False

    def lock_out(_: spark_jobs.Work) -> None:
        locked.locked = {bucket_of(setup.output)}

    stand_in.serverless.work = spark_jobs.before("featurize", lock_out)
    with setup.engine(job_idle_minutes=0.01) as engine, pytest.raises(FruitsError) as caught:
        setup.to_first_job(engine)
    assert "kms:GenerateDataKey" in str(caught.value)
    assert KEY in str(caught.value)
    assert stand_in.settle() == []


@pytest.mark.long
def test_a_job_that_cannot_even_start_for_its_key_says_so(setup: Setup, stand_in: StandIn):
    """EMR Serverless fetches the archive and writes the logs itself, by the role of the job."""
    refusal = f"Access Denied: User: jobs is not authorized to perform: kms:Decrypt on resource: {KEY}"
    stand_in.serverless.work = spark_jobs.fail("")
    stand_in.serverless.detail = refusal
    with setup.engine() as engine, pytest.raises(StageError, match="failed: Access Denied") as caught:
        setup.to_first_job(engine)
    says_what_to_do(caught.value, "kms:Decrypt")
