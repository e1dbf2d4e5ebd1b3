"""uv.lock: what Prefect's server runs on is what there was when that Prefect was released."""

from __future__ import annotations

import tomllib
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[2]
LOCKED: list[dict[str, Any]] = tomllib.loads((PROJECT / "uv.lock").read_text())["package"]
HELD: dict[str, str] = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["uv"]["exclude-newer-package"]


def uploaded(name: str) -> datetime:
    """When the first file of the locked version came to the index."""
    (package,) = [package for package in LOCKED if package["name"] == name]
    files = [*package["wheels"], *([package["sdist"]] if "sdist" in package else [])]
    return min(datetime.fromisoformat(file["upload-time"]) for file in files)


def test_one_date_holds_all_of_them_and_is_that_of_the_locked_prefect() -> None:
    assert len(set(HELD.values())) == 1
    held = datetime.fromisoformat(next(iter(HELD.values())))
    assert timedelta(0) <= held - uploaded("prefect") < timedelta(days=1)


@pytest.mark.parametrize("name", sorted(HELD))
def test_it_is_not_younger_than_prefect(name: str) -> None:
    assert uploaded(name) < datetime.fromisoformat(HELD[name])


def test_what_prefect_opens_its_database_and_computes_its_schedules_with_is_held() -> None:
    assert {"sqlalchemy", "alembic", "aiosqlite", "asyncpg", "pydantic", "fastapi", "whenever", "pydocket"} <= set(HELD)
