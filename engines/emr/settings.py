"""What the EMR engines need to know: plain data, JSON-able, and never a secret."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from engines.core.errors import InputError

ARCHITECTURES = ("x86_64", "arm64")
ENVIRONMENT_PREFIX = "FRUITS_EMR_"
DEFAULT_CONFIG = "fruits.toml"


@dataclass(frozen=True, slots=True)
class EmrSettings:
    """Where and how large jobs run on EMR. Names are those of the outputs of deployments/emr/template.yaml.

    `artifacts` is the `s3://bucket/prefix` of the archive, the entry point and the logs. Numbers of the sizing that are
    None are derived from the images, see `engines.emr.sizing`. `prices` overrides single prices of `prices.toml`, in
    US dollars. `credentials_block` names an AwsCredentials block of Prefect; without it boto3's usual chain is used.
    """

    region: str = "us-east-1"
    artifacts: str = ""
    release_label: str = "emr-7.13.0"
    architecture: str = "x86_64"
    glibc: str = "2.34"
    """The C library of the workers' image: Amazon Linux 2023 has 2.34; a custom image may have a later one."""

    application_id: str = ""
    execution_role: str = ""

    cluster_id: str = ""
    """A running cluster to use; without it emr-cluster creates one, and terminates it."""
    service_role: str = ""
    instance_profile: str = ""
    subnet_id: str = ""
    security_configuration: str = ""
    security_group_primary: str = ""
    security_group_core: str = ""
    security_group_service: str = ""
    instance_type: str = "m6i.xlarge"
    unpack_folder: str = "/mnt/fruit-features"

    executors: int | None = None
    max_executors: int = 50
    executor_cores: int = 4
    executor_memory_gb: int = 8
    driver_cores: int = 2
    driver_memory_gb: int = 8
    images_per_vcpu_second: float = 40.0
    """Assumed of featurize, for sizing and estimate: a vCPU of x86-64 is half a core. Not measured on AWS."""

    max_cost: float | None = None
    timeout_minutes: int = 120
    start_timeout_minutes: float = 20.0
    idle_minutes: int = 15
    poll_seconds: float = 5.0
    max_poll_seconds: float = 30.0
    patience_seconds: float = 300.0
    """How long throttling, lost connections and expired credentials are met with another attempt."""
    log_wait_seconds: float = 90.0
    """How long to wait for what AWS delivers after the end of a job: logs, and billed resources."""
    prices: dict[str, float] | None = None
    credentials_block: str = ""

    @property
    def logs(self) -> str:
        """Where AWS puts the logs of the jobs."""
        return f"{self.artifacts}/logs"


def load_settings(
    overrides: Mapping[str, Any] | None = None,
    *,
    config: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> EmrSettings:
    """Settings from `overrides`, else FRUITS_EMR_NAME in the environment, else the table [emr] of a TOML file.

    The file is `config`, or FRUITS_CONFIG, or fruits.toml here if there is one. Raises InputError for a file that is
    missing or no TOML, a name that does not exist, and a value of the wrong kind.
    """
    values: dict[str, Any] = {}
    path = config or environ.get("FRUITS_CONFIG") or (DEFAULT_CONFIG if Path(DEFAULT_CONFIG).is_file() else None)
    if path is not None:
        values.update(_read_table(path))
    known = {field.name for field in fields(EmrSettings)}
    values.update(
        {
            name.removeprefix(ENVIRONMENT_PREFIX).lower(): value
            for name, value in environ.items()
            if name.startswith(ENVIRONMENT_PREFIX) and name.removeprefix(ENVIRONMENT_PREFIX).lower() in known
        }
    )
    values.update(overrides or {})
    return settings_from(values)


def settings_from(values: Mapping[str, Any]) -> EmrSettings:
    """Checked settings; text is read as the kind of its field, so that `--emr executors=3` means the number."""
    kinds = {field.name: str(field.type) for field in fields(EmrSettings)}
    unknown = sorted(set(values) - set(kinds))
    if unknown:
        raise InputError(f"unknown EMR setting: {', '.join(unknown)}", f"Known are: {', '.join(kinds)}.")
    settings = EmrSettings(**{name: _typed(name, kinds[name], value) for name, value in values.items()})
    if settings.architecture not in ARCHITECTURES:
        raise InputError(
            f"unknown architecture {settings.architecture!r}", f"Choose one of: {', '.join(ARCHITECTURES)}."
        )
    if settings.artifacts and not settings.artifacts.startswith("s3://"):
        raise InputError(f"artifacts must lie on S3, not at {settings.artifacts}", "Give s3://bucket/prefix.")
    if not 1 <= settings.timeout_minutes <= 10080:
        raise InputError(
            f"timeout_minutes cannot be {settings.timeout_minutes}", "EMR Serverless takes 1 to 10,080 (7 days)."
        )
    if not 1 <= settings.idle_minutes <= 10080:
        raise InputError(f"idle_minutes cannot be {settings.idle_minutes}", "EMR takes 1 to 10,080 (7 days).")
    if settings.max_cost is not None and not settings.max_cost > 0:
        raise InputError(f"max_cost cannot be {settings.max_cost:g}", "Give US dollars, such as 5.")
    return settings


def _read_table(path: str) -> dict[str, Any]:
    try:
        table = tomllib.loads(Path(path).read_text()).get("emr", {})
    except OSError as error:
        raise InputError(f"the config file {path} cannot be read: {error.strerror}", "Give --config FILE.") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path} is not TOML: {error}", "See deployments/README.md for an example.") from error
    if not isinstance(table, dict):
        raise InputError(f"`emr` in {path} is not a table", "Write [emr] above the settings.")
    return table


def _typed(name: str, kind: str, value: Any) -> Any:
    """`value` as the declared kind of the field."""
    optional = kind.endswith(" | None")
    kind = kind.removesuffix(" | None")
    if optional and (value is None or value == ""):
        return None
    try:
        if kind == "int" and not isinstance(value, bool) and int(value) == float(value):
            return int(value)
        if kind == "float" and not isinstance(value, bool):
            return float(value)
        if kind == "str" and isinstance(value, str):
            return value.rstrip("/") if name == "artifacts" else value
        if kind.startswith("dict") and isinstance(value, Mapping):
            return {str(key): float(price) for key, price in value.items()}
    except (TypeError, ValueError):
        pass  # said below, with the name of the setting
    raise InputError(f"the EMR setting {name} cannot be {value!r}", f"It is of the kind {kind}.")
