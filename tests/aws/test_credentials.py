"""Credentials from a block of Prefect, by its name: used, and written nowhere."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import Any

import pytest
from pydantic import SecretStr

from engines.core.errors import InputError
from flows.checks import complete
from flows.credentials import use_credentials
from flows.options.run import RunSettings

prefect_aws = pytest.importorskip("prefect_aws", reason="prefect-aws is not installed")

VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_REGION")


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, "former")  # so that what the test sets is undone


def test_a_block_s_keys_are_used_and_not_part_of_the_settings(monkeypatch: pytest.MonkeyPatch):
    def load(name: str) -> Any:
        assert name == "fruits"
        return prefect_aws.AwsCredentials(
            aws_access_key_id="AKIAFRUITS", aws_secret_access_key=SecretStr("block-secret"), region_name="eu-west-1"
        )

    monkeypatch.setattr(prefect_aws.AwsCredentials, "load", load)
    settings = complete(RunSettings(engine="emr-serverless", emr={"credentials_block": "fruits"}))
    assert os.environ["AWS_ACCESS_KEY_ID"] == "former"  # nothing changes until it is asked for
    use_credentials(settings)
    assert os.environ["AWS_ACCESS_KEY_ID"] == "AKIAFRUITS"
    assert os.environ["AWS_SECRET_ACCESS_KEY"] == "block-secret"  # noqa: S105 - made up
    assert "AWS_SESSION_TOKEN" not in os.environ
    assert settings.engine_settings is not None
    assert settings.engine_settings["credentials_block"] == "fruits"
    assert "block-secret" not in json.dumps(asdict(settings))


def test_a_block_that_does_not_exist_is_said(monkeypatch: pytest.MonkeyPatch):
    def load(name: str) -> Any:
        raise ValueError(f"Unable to find block document named {name}")

    monkeypatch.setattr(prefect_aws.AwsCredentials, "load", load)
    with pytest.raises(InputError, match="no AwsCredentials block 'missing'"):
        use_credentials(complete(RunSettings(engine="emr-serverless", emr={"credentials_block": "missing"})))


def test_a_run_s_own_block_wins_over_the_engine_s(monkeypatch: pytest.MonkeyPatch):
    asked: list[str] = []

    def load(name: str) -> Any:
        asked.append(name)
        return prefect_aws.AwsCredentials(profile_name="mine")

    monkeypatch.setattr(prefect_aws.AwsCredentials, "load", load)
    settings = RunSettings(engine="emr-serverless", emr={"credentials_block": "fruits"}, credentials="mine")
    use_credentials(complete(settings))
    use_credentials(RunSettings(credentials="for S3 alone"))
    assert asked == ["mine", "for S3 alone"]
    assert os.environ["AWS_PROFILE"] == "mine"
    assert "AWS_ACCESS_KEY_ID" not in os.environ
