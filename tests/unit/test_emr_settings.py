"""Where EMR settings come from, what they may be, and that reading them is cheap."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from engines.core.errors import InputError
from engines.emr.settings import EmrSettings, load_settings, settings_from
from tests.unit.test_imports import loaded_by


def test_settings_come_from_options_then_environment_then_file(tmp_path):
    config = tmp_path / "fruits.toml"
    config.write_text('[emr]\nregion = "a"\nartifacts = "s3://b/c/"\nexecutors = 3\ntimeout_minutes = 60\n')
    environ = {"FRUITS_EMR_REGION": "b", "FRUITS_EMR_EXECUTORS": "4"}
    settings = load_settings({"executors": "5"}, config=str(config), environ=environ)
    assert (settings.region, settings.artifacts, settings.executors, settings.timeout_minutes) == (
        "b",
        "s3://b/c",
        5,
        60,
    )


def test_the_config_file_of_the_environment_is_read(tmp_path: Path):
    config = tmp_path / "mine.toml"
    config.write_text("[emr]\nmax_executors = 7\n")
    assert load_settings(environ={"FRUITS_CONFIG": str(config)}).max_executors == 7


def test_prices_are_json_in_the_environment_and_merged_one_by_one(tmp_path: Path):
    config = tmp_path / "fruits.toml"
    config.write_text("[emr]\nprices = { vcpu_hour = 1, memory_gb_hour = 2 }\n")
    environ = {"FRUITS_EMR_PRICES": '{"vcpu_hour": 3}'}
    assert load_settings(config=str(config), environ=environ).prices == {"vcpu_hour": 3.0, "memory_gb_hour": 2.0}
    with pytest.raises(InputError, match="prices") as caught:
        load_settings(environ={"FRUITS_EMR_PRICES": "3"})
    with pytest.raises(InputError, match="prices"):
        load_settings(environ={"FRUITS_EMR_PRICES": "{3"})
    assert caught.value.hint


def test_empty_text_means_none_where_none_is_allowed():
    assert load_settings({"executors": ""}, environ={"FRUITS_EMR_MAX_COST": ""}).executors is None
    with pytest.raises(InputError, match="max_executors cannot be ''"):
        settings_from({"max_executors": ""})


def test_other_variables_of_the_environment_are_none_of_its_business():
    environ = {"FRUITS_EMR_NO_SUCH_SETTING": "1", "REGION": "elsewhere", "FRUITS_EMR_REGION": "here"}
    assert load_settings(environ=environ).region == "here"


def test_a_config_file_that_cannot_be_used_is_said(tmp_path: Path):
    config = tmp_path / "fruits.toml"
    with pytest.raises(InputError, match="cannot be read: No such file"):
        load_settings(config=str(config))
    config.write_text("[emr")
    with pytest.raises(InputError, match="is not TOML"):
        load_settings(config=str(config))
    config.write_text("emr = 3")
    with pytest.raises(InputError, match="is not a table") as caught:
        load_settings(config=str(config))
    assert "[emr]" in caught.value.hint
    config.write_text("[emr]\nregoin = 'x'\n")
    with pytest.raises(InputError, match="unknown EMR setting: regoin") as caught:
        load_settings(config=str(config))
    assert "region" in caught.value.hint


def test_settings_survive_the_way_through_plain_data():
    settings = settings_from({"artifacts": "s3://bucket/prefix/", "executors": "3", "max_cost": 2})
    assert settings.artifacts == "s3://bucket/prefix"
    assert settings_from(asdict(settings)) == settings


def test_importing_the_engines_and_what_jobs_run_needs_no_pydantic():
    for statement in ("import engines", "import engines.emr.settings", "import engines.emr.job_driver"):
        assert not loaded_by(statement) & {"pydantic", "pydantic_settings", "pydantic_core"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"regoin": "x"}, "unknown EMR setting: regoin"),
        ({"executors": "many"}, "executors cannot be 'many'"),
        ({"executors": True}, "executors cannot be True"),
        ({"poll_seconds": "nan"}, "poll_seconds cannot be 'nan'"),
        ({"region": 3}, "region cannot be 3"),
        ({"prices": {"vcpu_hour": "dear"}}, "vcpu_hour cannot be 'dear'"),
        ({"executors": 2.5}, r"executors cannot be 2\.5"),
        ({"timeout_minutes": 0}, "timeout_minutes cannot be 0"),
        ({"idle_minutes": 0}, "idle_minutes cannot be 0"),
        ({"max_cost": -1}, "max_cost cannot be -1"),
        ({"architecture": "sparc"}, "unknown architecture"),
        ({"artifacts": "/tmp/x"}, "must lie on S3"),  # noqa: S108 - not opened
    ],
)
def test_wrong_settings_are_said(values: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message) as caught:
        settings_from(values)
    assert caught.value.hint


def test_settings_have_no_field_for_a_secret():
    assert not [name for name in EmrSettings.__slots__ if re.search("secret|token|password|access_key", name)]
