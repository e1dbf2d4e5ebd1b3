"""What a run on AWS needs of this process: settings, region, and credentials from a block of Prefect."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from engines import EMR_ENGINES
from engines.core.errors import InputError
from engines.emr.settings import EmrSettings, load_settings


def resolve_emr(overrides: Mapping[str, Any] | None) -> dict[str, Any]:
    """All EMR settings as plain data (see `load_settings`), with this process set to their region and credentials."""
    settings = load_settings(overrides)
    use_settings(settings)
    return asdict(settings)


def emr_overrides(given: Mapping[str, Any] | str | None) -> dict[str, Any] | None:
    """The `emr` parameter of a flow as settings: they are, or are in the EMR settings block of that name.

    Raises InputError for a block that does not exist.
    """
    if isinstance(given, str):
        from flows.runtime.emr_block import load_overrides

        return load_overrides(given)
    return None if given is None else dict(given)


def use_settings(settings: EmrSettings) -> None:
    """Set this process to the settings' region, and to the credentials of their AwsCredentials block if they name one.

    They go into the AWS_* variables, where boto3's usual chain finds them, and nowhere else. Raises InputError for a
    block that does not exist.
    """
    os.environ.setdefault("AWS_DEFAULT_REGION", settings.region)
    if settings.credentials_block:
        found = _credentials(settings.credentials_block)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
            os.environ.pop(name, None)  # parts of other credentials would spoil these
        os.environ.update(found)


def _credentials(block: str) -> dict[str, str]:
    try:
        from prefect_aws import AwsCredentials
    except ModuleNotFoundError as error:
        raise InputError(
            "credentials_block needs the package prefect-aws, which is not installed",
            "Install fruit-features[prefect-aws].",
        ) from error
    try:
        credentials = AwsCredentials.load(block)
    except ValueError as error:
        raise InputError(
            f"there is no AwsCredentials block {block!r} on this Prefect server",
            "Create it on the page Blocks, or leave out credentials_block to use the usual AWS variables.",
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


@contextlib.contextmanager
def job_log(engine: str, target: logging.Handler) -> Iterator[None]:
    """Within this context what an EMR engine says (estimate, states of jobs) goes to `target`."""
    if engine not in EMR_ENGINES:
        yield
        return
    logger = logging.getLogger("fruits.emr")
    former = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(target)
    try:
        yield
    finally:
        logger.removeHandler(target)
        logger.setLevel(former)


class Terminal(logging.Handler):
    """Lines on standard error, above the progress bars that are there now."""

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        import sys

        print(record.getMessage(), file=sys.stderr)  # noqa: T201 - rich redirects it while bars are shown


class RunLog(logging.Handler):
    """Hands records to a run's logger, level and all."""

    def __init__(self, target: logging.Logger | logging.LoggerAdapter[logging.Logger]) -> None:
        super().__init__()
        self._target = target

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        self._target.log(record.levelno, "%s", record.getMessage())
