"""The settings of the EMR engines: plain data that JSON can hold, and never a secret."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.core.errors import InputError

ARCHITECTURES = ("x86_64", "arm64")
ENVIRONMENT_PREFIX = "FRUITS_EMR_"
DEFAULT_CONFIG = "fruits.toml"
WORKERS_GLIBC = "2.34"
"""The C library of Amazon Linux 2023, which is EMR's image."""
SETTINGS_OUTPUT = "the output `Settings` of the stack (deployments/emr/template.yaml) is the whole table"
"""For hints: where a missing setting is to be found."""


@dataclass(frozen=True, slots=True)
class EmrSettings:
    """Where and how large jobs run on EMR. Names are those of the outputs of deployments/emr/template.yaml.

    `artifacts` is the `s3://bucket/prefix` of the archive, the entry point and the logs. If `executors` is None, their
    number follows from that of the images, see `engines.emr.sizing`. `prices` overrides single prices of `prices.toml`,
    in US dollars. `credentials_block` names an AwsCredentials block of Prefect; without it boto3's usual chain is used.
    """

    region: str = "us-east-1"
    artifacts: str = ""
    release_label: str = "emr-7.13.0"
    architecture: str = "x86_64"
    glibc: str = WORKERS_GLIBC
    """The C library of the workers' image. A custom image may have a later one."""

    application_id: str = ""
    execution_role: str = ""

    cluster_id: str = ""
    """A running cluster to use. Without it emr-cluster creates one for each run, and terminates it."""
    service_role: str = ""
    instance_profile: str = ""
    subnet_id: str = ""
    security_configuration: str = ""
    security_group_primary: str = ""
    security_group_core: str = ""
    security_group_service: str = ""
    instance_type: str = "m6i.xlarge"
    unpack_folder: str = "/mnt/fruit-features"

    flex: bool = False
    """Executors on spare capacity, at a lower price; AWS may take them back. See `engines.emr.spare_capacity`."""

    executors: int | None = None
    max_executors: int = 50
    executor_cores: int = 4
    executor_memory_gb: int = 8
    driver_cores: int = 2
    driver_memory_gb: int = 8
    images_per_vcpu_second: float = 40.0
    """Assumed rate of featurize, for size and estimate. A vCPU of x86-64 is half a core. Not measured on AWS."""

    max_cost: float | None = None
    timeout_minutes: int = 120
    start_timeout_minutes: float = 20.0
    idle_minutes: int = 15
    job_idle_minutes: float = 3.0
    """How long a job waits for an order of its run before it ends by itself: the run may be gone."""
    poll_seconds: float = 5.0
    max_poll_seconds: float = 30.0
    patience_seconds: float = 300.0
    """How long a call is repeated after throttling, lost connections and expired credentials."""
    log_wait_seconds: float = 90.0
    """How long to wait for what AWS delivers after the end of a job: the log and the billed resources."""
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

    The file is `config`, else FRUITS_CONFIG, else fruits.toml in the current folder if there is one. Raises InputError
    for a file that is missing or no TOML, an unknown name, and a value of the wrong type.
    """
    path = config or environ.get("FRUITS_CONFIG") or (DEFAULT_CONFIG if Path(DEFAULT_CONFIG).is_file() else None)
    return _merged(overrides or {}, environ, {} if path is None else _read_table(path))


def settings_from(values: Mapping[str, Any]) -> EmrSettings:
    """Checked settings. Text is read as the type of its field, so `--emr executors=3` means the number."""
    return _merged(values, {}, {})


def _merged(overrides: Mapping[str, Any], environ: Mapping[str, str], table: Mapping[str, Any]) -> EmrSettings:
    try:
        # Here, as workers import this module, and need no pydantic.
        from engines.emr.settings_sources import merge_settings
    except ModuleNotFoundError as error:
        raise InputError(
            f"EMR settings need the package {error.name}, which is not installed", "Install fruit-features[aws]."
        ) from error
    values = merge_settings(EmrSettings, ENVIRONMENT_PREFIX, overrides, environ, table)
    values["artifacts"] = values["artifacts"].rstrip("/")
    settings = EmrSettings(**values)
    _check(settings)
    return settings


def _check(settings: EmrSettings) -> None:
    """Raise InputError for a value outside of its range."""
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
    if not settings.job_idle_minutes > 0:
        raise InputError(f"job_idle_minutes cannot be {settings.job_idle_minutes:g}", "Give minutes, such as 3.")
    if settings.max_cost is not None and not settings.max_cost > 0:
        raise InputError(f"max_cost cannot be {settings.max_cost:g}", "Give US dollars, such as 5.")


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
