"""run.json: the record of the run whose results are published. Replacing it is the commit."""

from __future__ import annotations

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from engines.core.errors import InputError
from engines.core.storage import open_storage

KEY = "run.json"
FORMAT = 1

_PACKAGES = (
    "fruit-features",
    "ai-edge-litert",
    "tensorflow",
    "pillow",
    "numpy",
    "pyarrow",
    "dask",
    "pyspark",
    "prefect",
)


def publish(output: str, record: dict[str, Any]) -> None:
    """Replace run.json atomically: from here on readers see the results that `record` names."""
    open_storage(output).write(KEY, json.dumps({"format": FORMAT, **record}, indent=1, ensure_ascii=False).encode())


def read_record(output: str) -> dict[str, Any]:
    """The published record. Raises InputError when nothing was published there, or by a later version."""
    storage = open_storage(output)
    if not storage.exists(KEY):
        raise InputError(f"{storage.url} has no published results", "Run `fruits run SOURCE OUTPUT` first.")
    try:
        record: dict[str, Any] = json.loads(storage.read(KEY))
    except ValueError as error:
        raise InputError(f"{storage.uri(KEY)} is damaged: {error}", "Run `fruits run` again to replace it.") from error
    if record.get("format") != FORMAT:
        raise InputError(f"{storage.uri(KEY)} has format {record.get('format')}, known here is {FORMAT}", "Upgrade.")
    return record


def package_versions() -> dict[str, str]:
    """Installed versions of Python and of the packages that take part."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue  # an engine that is not installed takes no part
    return versions
