"""The Prefect server that is configured, if any: whether there is one is found out without importing Prefect."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from engines.core.errors import InputError

_VARIABLE = "PREFECT_API_URL"


def configured_server() -> str | None:
    """The address of the API that Prefect would use in this process, or None when it would start a server of its own.

    Looked for where Prefect looks, in its order: the environment, .env, prefect.toml and pyproject.toml here, and the
    active profile. Raises InputError for a file that Prefect could not read either.
    """
    if os.environ.get(_VARIABLE):
        return os.environ[_VARIABLE]
    for found in (_dotenv(), _toml("prefect.toml"), _toml("pyproject.toml", "tool", "prefect")):
        if found:
            return found
    return _profile()


def check_server() -> None:
    """Raise InputError when the server that is configured does not answer; Prefect would show a long traceback."""
    from prefect import get_client
    from prefect.settings import PREFECT_API_URL

    url = PREFECT_API_URL.value()
    if not url:
        raise InputError(
            "no Prefect server is configured",
            f"Set {_VARIABLE} to a server (http://HOST:4200/api), or run without Prefect: --no-prefect, "
            "and flows.chain.run_chain from Python.",
        )
    with get_client(sync_client=True) as client:
        error = client.api_healthcheck()
    if error is None:
        return
    if not urlsplit(url).path.strip("/"):
        raise InputError(
            f"there is no API of Prefect at {url}: {_VARIABLE} lacks the /api at its end",
            f"Set {_VARIABLE}={url.rstrip('/')}/api",
        ) from error
    raise InputError(
        f"the Prefect server at {url} does not answer: {error}",
        f"Start it, correct {_VARIABLE}, or do without: --no-prefect.",
    ) from error


def _dotenv() -> str | None:
    if not Path(".env").is_file():
        return None
    from dotenv import dotenv_values

    return dotenv_values(".env").get(_VARIABLE)


def _toml(file: str, *table: str) -> str | None:
    path = Path(file)
    if not path.is_file():
        return None
    values = _read(path)
    for name in (*table, "api"):
        values = values.get(name, {})
        if not isinstance(values, dict):
            return None
    return values.get("url")


def _profile() -> str | None:
    home = os.environ.get("PREFECT_HOME") or os.path.join("~", ".prefect")
    path = Path(os.path.expanduser(os.environ.get("PREFECT_PROFILES_PATH") or os.path.join(home, "profiles.toml")))
    if not path.is_file():
        return None
    values = _read(path)
    active = os.environ.get("PREFECT_PROFILE") or values.get("active")
    found = values.get("profiles", {}).get(active, {}).get(_VARIABLE)
    return str(found) if found else None


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} cannot be read, so it is not known whether it names a Prefect server: {error}",
            "Mend it, or say --prefect or --no-prefect.",
        ) from error
