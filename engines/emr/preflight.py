"""Checks before the first job, so that mistakes show before anything costs money."""

from __future__ import annotations

import json
from urllib.parse import unquote

from engines.core.errors import InputError, StageError
from engines.core.networks.model import library_versions
from engines.emr.archive import Artifacts, Manifest, code_digest, newer_glibc
from engines.emr.calls import DENIED, LOGGER, MISSING, Aws, AwsCallError, refused, split_s3
from engines.emr.protocol import JobRunner
from engines.emr.settings import SETTINGS_OUTPUT, EmrSettings


def preflight(
    settings: EmrSettings, aws: Aws, artifacts: Artifacts, runner: JobRunner, source: str, output: str
) -> list[str]:
    """Check credentials, buckets, archive, application or cluster, and roles. Returns a line about each.

    Raises InputError for the first that cannot work, with what to do.
    """
    lines = [check_identity(aws)]
    locations = {"source": source, "output": output, "artifacts": settings.artifacts}
    for name, location in locations.items():
        if not location.startswith("s3://"):
            raise InputError(
                f"the {name} {location or '(not given)'} is not on S3, where the jobs could reach it",
                "Give s3://bucket/prefix; copy a folder with `aws s3 sync FOLDER s3://bucket/prefix`.",
            )
    for bucket in dict.fromkeys(split_s3(location)[0] for location in locations.values()):
        lines.append(check_bucket(aws, bucket, settings.region))
    lines.append(_source_line(aws, source))
    manifest = artifacts.current().manifest
    _check_manifest(manifest, settings)
    lines.append(f"archive {manifest.name}: Python {manifest.python}, {manifest.size / 1e6:.0f} MB")
    return lines + runner.check(manifest)


def check_role(aws: Aws, role: str, service: str, setting: str) -> str:
    """A line about a role. Raises InputError when it does not exist, or does not trust `service`."""
    if not role:
        raise InputError(
            f"no role was given as {setting}",
            f"Set {setting} in the [emr] table: {SETTINGS_OUTPUT}.",
        )
    name = role.rsplit("/", 1)[-1]
    try:
        answer = aws.call("iam", "get_role", RoleName=name)
    except AwsCallError as error:
        if error.code in MISSING:
            raise InputError(f"the role {role} does not exist", f"Check {setting}: {SETTINGS_OUTPUT}.") from error
        if error.code in DENIED:
            return f"role {name}: not checked, iam:GetRole is not allowed; AWS checks it when the job is started"
        raise refused(error, f"the role {role} cannot be looked up", f"Check {setting}.") from error
    if role.startswith("arn:") and answer["Role"]["Arn"] != role:
        raise InputError(
            f"the role {role} is in another account or path than {answer['Role']['Arn']}", f"Check {setting}."
        )
    trust = answer["Role"]["AssumeRolePolicyDocument"]
    policy = json.loads(unquote(trust)) if isinstance(trust, str) else trust
    if service not in json.dumps(policy):
        raise InputError(
            f"the role {role} does not trust {service}", f"Check {setting}: it must be the role made for the jobs."
        )
    return f"role {name}: trusts {service}"


def check_identity(aws: Aws) -> str:
    """A line about who the credentials belong to. Raises InputError when AWS does not accept them."""
    try:
        identity = aws.call("sts", "get_caller_identity")
    except AwsCallError as error:
        raise refused(
            error, "AWS does not accept the credentials", "Check AWS_PROFILE, or the AWS_* variables."
        ) from error
    return f"account {identity['Account']} as {identity['Arn'].rsplit(':', 1)[-1]}"


def check_bucket(aws: Aws, bucket: str, region: str) -> str:
    """A line about a bucket. Raises InputError when it does not exist, may not be used, or is not in `region`."""
    try:
        answer = aws.call("s3", "head_bucket", Bucket=bucket)
        found = answer.get("BucketRegion") or region
    except AwsCallError as error:
        if error.code in ("301", "PermanentRedirect", "400"):
            raise InputError(
                f"the bucket {bucket} is not in {region}", "Set region in the [emr] table to the bucket's."
            ) from error
        if error.code in MISSING:
            raise InputError(f"the bucket {bucket} does not exist", "Check its name, or create it.") from error
        raise refused(
            error, f"the bucket {bucket} cannot be used", "Check your permissions (s3:ListBucket)."
        ) from error
    if found != region:
        raise InputError(
            f"the bucket {bucket} is in {found}, but the jobs would run in {region}",
            f"Set region = {found!r} in the [emr] table, with an application there: jobs reach S3 in their own region.",
        )
    return f"bucket {bucket}: {found}"


def read_an_image(aws: Aws, source: str) -> None:
    """Read a byte of an image below the `s3://` location `source`.

    Raises InputError when there is none, and when it cannot be read: for want of permission, or of the right to use
    the KMS key that encrypts it.
    """
    bucket, prefix = split_s3(source)
    try:
        listed = aws.call("s3", "list_objects_v2", Bucket=bucket, Prefix=prefix, MaxKeys=10).get("Contents", [])
        files = [item["Key"] for item in listed if item["Size"]]
        if not files:
            raise InputError(f"there is nothing below {source}", "Check the bucket and the prefix.")
        aws.call("s3", "get_object", Bucket=bucket, Key=files[0], Range="bytes=0-0")
    except AwsCallError as error:
        raise refused(
            error,
            f"the images below {source} cannot be read",
            "Check your permissions there (s3:ListBucket, s3:GetObject); a bucket of another account has to allow it.",
        ) from error


def _source_line(aws: Aws, source: str) -> str:
    """A line about the images. That they cannot be read from here is only warned of: jobs have a role of their own."""
    try:
        read_an_image(aws, source)
    except (InputError, StageError) as error:
        LOGGER.warning("%s. The jobs try it by their own role. %s", error.message, error.hint)
        return "images: not read from here"
    return "images: can be read"


def _check_manifest(manifest: Manifest, settings: EmrSettings) -> None:
    again = "Build it anew with `make emr-package` and upload it with `fruits emr push`."
    if manifest.code != code_digest():
        raise InputError(f"the archive {manifest.name} was built from other code of the engines than runs here", again)
    here = library_versions("litert")  # the runtime of every job on EMR
    different = [
        f"{package} {manifest.libraries.get(package, 'of no known version')} and not {number}"
        for package, number in here.items()
        if manifest.libraries.get(package) != number
    ]
    if different:
        raise InputError(
            f"the archive {manifest.name} has {', '.join(different)} as here: its jobs would refuse the model",
            f"Install what uv.lock has (`make setup`). {again}",
        )
    if newer_glibc(manifest.glibc, settings.glibc):
        raise InputError(
            f"the archive {manifest.name} needs glibc {manifest.glibc}, but the workers have {settings.glibc}",
            f"{again} Or set glibc in the [emr] table when a custom image has a later one.",
        )
