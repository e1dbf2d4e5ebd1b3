"""Whether a Prefect server is configured is found out as Prefect would, without importing it."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines.core.errors import InputError
from flows.runtime.server import configured_server

URL = "http://127.0.0.1:4200/api"

CASES: dict[str, tuple[dict[str, str], dict[str, str], str | None]] = {
    "nothing": ({}, {}, None),
    "variable": ({"PREFECT_API_URL": URL}, {}, URL),
    "empty variable": ({"PREFECT_API_URL": ""}, {}, None),
    "dotenv": ({}, {".env": f"OTHER=1\nPREFECT_API_URL={URL}\n"}, URL),
    "prefect.toml": ({}, {"prefect.toml": f'[api]\nurl = "{URL}"\n'}, URL),
    "prefect.toml of something else": ({}, {"prefect.toml": 'home = "x"\n'}, None),
    "pyproject.toml": ({}, {"pyproject.toml": f'[tool.prefect.api]\nurl = "{URL}"\n'}, URL),
    "active profile": (
        {},
        {"home/profiles.toml": f'active = "there"\n[profiles.there]\nPREFECT_API_URL = "{URL}"\n'},
        URL,
    ),
    "another profile": (
        {},
        {"home/profiles.toml": f'active = "here"\n[profiles.here]\n[profiles.there]\nPREFECT_API_URL = "{URL}"\n'},
        None,
    ),
    "chosen profile": (
        {"PREFECT_PROFILE": "there"},
        {"home/profiles.toml": f'active = "here"\n[profiles.here]\n[profiles.there]\nPREFECT_API_URL = "{URL}"\n'},
        URL,
    ),
    "profile that is not there": ({"PREFECT_PROFILE": "gone"}, {"home/profiles.toml": 'active = "here"\n'}, None),
    "variable before files": (
        {"PREFECT_API_URL": URL},
        {"prefect.toml": '[api]\nurl = "http://elsewhere/api"\n'},
        URL,
    ),
}


@pytest.mark.parametrize(("variables", "files", "expected"), CASES.values(), ids=CASES)
def test_it_is_what_prefect_says(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    files: dict[str, str],
    expected: str | None,
) -> None:
    from prefect.settings import Settings

    for name in ("PREFECT_API_URL", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    monkeypatch.chdir(tmp_path)
    assert configured_server() == expected
    assert (Settings().api.url or None) == expected


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prefect.toml").write_text("[api")
    with pytest.raises(InputError, match=r"prefect\.toml cannot be read") as error:
        configured_server()
    assert "--no-prefect" in error.value.hint
