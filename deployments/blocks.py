"""Register the blocks that flows and deployments name: `python -m deployments.blocks`.

- `aws-credentials/NAME`: keys from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN when they are set,
  else the profile or just the region, for machines with a role. Keys are taken from the environment only: everybody on
  the machine can read flags.
- `emr-settings/NAME`: from FRUITS_EMR_*, the config file and --emr, as `fruits run` reads them.
- `s3-bucket/NAME`: the bucket and folder of the settings' `artifacts` (or --bucket, --folder), for code and packages.

Run it again at any time: what is there is updated. Nothing secret is printed.
"""

from __future__ import annotations

import os
import sys
from dataclasses import asdict, dataclass
from typing import Annotated

import typer
from prefect.blocks.core import Block
from prefect_aws import AwsCredentials, S3Bucket
from pydantic import SecretStr

from engines.core.errors import FruitsError, InputError
from engines.emr.settings import EmrSettings, load_settings
from flows.assignments import read_assignments
from flows.options.emr import EmrTable
from flows.runtime.emr_block import EmrSettingsBlock
from flows.runtime.server import check_server
from flows.signatures import Option, as_command


@dataclass(frozen=True, slots=True)
class Blocks:
    """What to register. What is empty is taken from the settings."""

    name: Annotated[str, Option("The name of the blocks.")] = "fruits"
    bucket: Annotated[str | None, Option("Bucket for code; that of `artifacts` by default.")] = None
    folder: Annotated[str | None, Option("Folder in it; that of `artifacts` by default.")] = None
    region: Annotated[str | None, Option("Region; that of the settings by default.")] = None
    profile: Annotated[str | None, Option("Profile of ~/.aws; AWS_PROFILE by default.")] = None


@as_command(Blocks, EmrTable)
def register(blocks: Blocks, table: EmrTable) -> None:
    """Register or update the blocks aws-credentials/NAME, emr-settings/NAME and s3-bucket/NAME."""
    check_server()
    overrides = read_assignments("--emr", table.emr_assignments, "executors=4")
    overrides |= {"region": blocks.region} if blocks.region else {}
    settings = load_settings(overrides, config=table.config)
    credentials = credentials_block(settings.region, blocks.profile or os.environ.get("AWS_PROFILE"))
    _save(credentials, f"aws-credentials/{blocks.name}", _kind(credentials))
    if not settings.credentials_block:
        settings = EmrSettings(**{**asdict(settings), "credentials_block": blocks.name})
    _save(
        EmrSettingsBlock(**asdict(settings)), f"emr-settings/{blocks.name}", settings.artifacts or "no `artifacts` yet"
    )
    in_settings, _, prefix = settings.artifacts.removeprefix("s3://").partition("/")
    if blocks.bucket or in_settings:
        block = S3Bucket(
            bucket_name=blocks.bucket or in_settings,
            bucket_folder=blocks.folder or ("" if blocks.bucket else prefix),
            credentials=credentials,
        )
        _save(block, f"s3-bucket/{blocks.name}", f"s3://{block.bucket_name}/{block.bucket_folder}")
    else:
        _print(
            f"s3-bucket/{blocks.name}: left out, no bucket is known. Give --bucket, or --emr artifacts=s3://BUCKET/PREFIX"
        )


def credentials_block(region: str, profile: str | None) -> AwsCredentials:
    """Credentials from the environment. Raises InputError when only one of the two keys is set."""
    key, secret = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
    if bool(key) != bool(secret):
        raise InputError("only one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is set", "Set both, or neither.")
    return AwsCredentials(
        aws_access_key_id=key,
        aws_secret_access_key=SecretStr(secret) if secret else None,
        aws_session_token=os.environ.get("AWS_SESSION_TOKEN"),
        profile_name=None if key else profile,
        region_name=region,
    )


def _kind(credentials: AwsCredentials) -> str:
    if credentials.aws_access_key_id:
        return f"the key {credentials.aws_access_key_id[:4]}…, {credentials.region_name}"
    if credentials.profile_name:
        return f"the profile {credentials.profile_name}, {credentials.region_name}"
    return f"whatever the machine has (role, ~/.aws), {credentials.region_name}"


def _save(block: Block, slug: str, what: str) -> None:
    type(block).register_type_and_schema()
    block.save(slug.partition("/")[2], overwrite=True)
    _print(f"{slug}: {what}")


def _print(text: str) -> None:
    typer.echo(text)


def main() -> None:
    """Run; a FruitsError is told without a traceback, with exit code 2."""
    try:
        typer.run(register)
    except FruitsError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
