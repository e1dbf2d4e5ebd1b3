"""Credentials for AWS, resolved once per process, in the flow or the command that needs them, and written nowhere."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from engines.core.errors import InputError

if TYPE_CHECKING:
    from flows.options.published import CheckSettings
    from flows.options.run import RunSettings

_OF_THE_USER = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE")


def use_credentials(settings: RunSettings | CheckSettings) -> None:
    """Set this process to the credentials and the region that a run's settings name.

    The run's own `credentials` win over the block that the settings of its engine name. Raises InputError for a block
    that does not exist.
    """
    engine = settings.engine_settings or {}
    use_block(settings.credentials or engine.get("credentials_block"), region=engine.get("region"))


def use_block(block: str | None, *, region: str | None = None) -> None:
    """Set this process to the AwsCredentials block of Prefect called `block`, if any, and to `region` if it has none.

    They go into the AWS_* variables, where boto3's usual chain and the workers of this process find them.
    """
    if region:
        os.environ.setdefault("AWS_DEFAULT_REGION", region)
    if block:
        found = _read_block(block)
        for name in _OF_THE_USER:
            os.environ.pop(name, None)  # parts of other credentials would spoil these
        os.environ.update(found)


def _read_block(block: str) -> dict[str, str]:
    try:
        from prefect_aws import AwsCredentials
    except ModuleNotFoundError as error:
        raise InputError(
            "a credentials block needs the package prefect-aws, which is not installed",
            "Install fruit-features[prefect-aws].",
        ) from error
    try:
        credentials = AwsCredentials.load(block)
    except ValueError as error:
        raise InputError(
            f"there is no AwsCredentials block {block!r} on this Prefect server",
            "Create it on the page Blocks, or name none to use the usual AWS variables.",
        ) from error
    secret = credentials.aws_secret_access_key
    values = {
        "AWS_ACCESS_KEY_ID": credentials.aws_access_key_id,
        "AWS_SECRET_ACCESS_KEY": secret.get_secret_value() if secret is not None else None,
        "AWS_SESSION_TOKEN": credentials.aws_session_token,
        "AWS_PROFILE": credentials.profile_name,
        "AWS_DEFAULT_REGION": credentials.region_name,
    }
    return {name: value for name, value in values.items() if value}
