"""What `fruits emr init` checks before anything is made, and what `fruits emr destroy` removes besides the stack."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from engines.core.errors import InputError, TransientError
from engines.emr.calls import MISSING, Aws, AwsCallError, refused, split_s3
from engines.emr.preflight import check_bucket, check_identity, read_an_image
from engines.emr.protocol import JobRunner
from engines.emr.quota import account_limit
from engines.emr.settings import EmrSettings
from engines.emr.sizing import shrink_to, smallest_size

_STOP_SECONDS = 600.0
_OBJECTS_A_REQUEST = 1000
"""As many as DeleteObjects takes."""


def check_account(settings: EmrSettings, aws: Aws) -> list[str]:
    """A line about the credentials, and one about the quota of vCPUs.

    Raises InputError for credentials that AWS does not accept, and for a quota that holds no job at all.
    """
    identity = check_identity(aws)
    limit, note = account_limit(aws, settings.region)
    if limit is not None:
        shrink_to(smallest_size(settings), limit)
    return [identity, note]


def check_source(aws: Aws, source: str, region: str) -> str:
    """A line about the images below the `s3://` location `source`.

    Raises InputError for a bucket that is missing or in another region, and for images that cannot be read, such as
    those whose KMS key does not let this account in.
    """
    line = check_bucket(aws, split_s3(source)[0], region)
    read_an_image(aws, source)
    return f"{line}, its images can be read"


@dataclass(frozen=True, slots=True)
class Content:
    """What a bucket holds."""

    objects: int
    bytes: int


def bucket_content(aws: Aws, bucket: str) -> Content | None:
    """How much `bucket` holds, all versions counted; None where there is no such bucket."""
    count = size = 0
    try:
        for page in _pages(aws, bucket):
            count += len(page)
            size += sum(item.get("Size", 0) for item in page)
    except AwsCallError as error:
        if error.code in MISSING:
            return None
        raise refused(error, f"the bucket {bucket} cannot be listed", "Check your permissions there.") from error
    return Content(count, size)


def remove_bucket(aws: Aws, bucket: str, on_progress: Callable[[int], None]) -> None:
    """Delete every object of every version, then the bucket. `on_progress` is told how many are gone."""
    gone = 0
    try:
        for page in _pages(aws, bucket):
            doomed = [{"Key": item["Key"], "VersionId": item["VersionId"]} for item in page]
            answer = aws.call("s3", "delete_objects", Bucket=bucket, Delete={"Objects": doomed, "Quiet": True})
            if errors := answer.get("Errors"):
                raise InputError(
                    f"{errors[0]['Key']} in {bucket} cannot be deleted: {errors[0].get('Message')}",
                    "Check s3:DeleteObject and s3:DeleteObjectVersion, and whether the bucket locks its objects.",
                )
            gone += len(doomed)
            on_progress(gone)
        aws.call("s3", "delete_bucket", Bucket=bucket)
    except AwsCallError as error:
        if error.code in MISSING:
            return
        raise refused(error, f"the bucket {bucket} cannot be removed", "Check your permissions there.") from error


def stop_application(settings: EmrSettings, aws: Aws, runner: JobRunner, on_event: Callable[[str], None]) -> None:
    """Cancel the jobs of the application, and stop it: AWS deletes neither one with jobs nor one that is started."""
    for job in runner.find():
        if job.state.active:
            on_event(f"cancelling the job {job.id}")
            runner.cancel(job.id)
    waited = 0.0
    while any(not job.state.ended for job in runner.find()):
        waited = _pause(aws, settings, waited, "its jobs have not ended")
    try:
        if _application_state(aws, settings) in (None, "CREATED", "STOPPED", "TERMINATED"):
            return
        on_event(f"stopping the application {settings.application_id}")
        aws.call("emr-serverless", "stop_application", applicationId=settings.application_id)
        while _application_state(aws, settings) not in (None, "CREATED", "STOPPED", "TERMINATED"):
            waited = _pause(aws, settings, waited, "it has not stopped")
    except AwsCallError as error:
        raise refused(
            error, f"the application {settings.application_id} cannot be stopped", "Check your permissions."
        ) from error


def _application_state(aws: Aws, settings: EmrSettings) -> str | None:
    try:
        answer = aws.call("emr-serverless", "get_application", applicationId=settings.application_id)
    except AwsCallError as error:
        if error.code in MISSING:
            return None
        raise
    return str(answer["application"]["state"])


def _pause(aws: Aws, settings: EmrSettings, waited: float, what: str) -> float:
    if waited > _STOP_SECONDS:
        raise TransientError(
            f"the application {settings.application_id} cannot be stopped: {what} in {_STOP_SECONDS / 60:.0f} minutes",
            "Run `fruits emr destroy` again.",
        )
    aws.pause(settings.poll_seconds)
    return waited + settings.poll_seconds


def _pages(aws: Aws, bucket: str) -> Iterator[list[dict[str, Any]]]:
    """Versions and delete markers, page by page; each page may be deleted before the next is asked for."""
    markers: dict[str, Any] = {}
    while True:
        page = aws.call("s3", "list_object_versions", Bucket=bucket, MaxKeys=_OBJECTS_A_REQUEST, **markers)
        items = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
        if items:
            yield items
        if not page.get("IsTruncated"):
            return
        markers = {"KeyMarker": page["NextKeyMarker"], "VersionIdMarker": page["NextVersionIdMarker"]}
