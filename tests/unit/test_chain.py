"""The chain without Prefect: from a script of any kind, quiet, and with nothing imported that it does not need."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engines.core.errors import InputError
from flows.chain import run_chain

SCRIPT = """
import json, sys
from flows.chain import run_chain

record = run_chain({source!r}, {output!r}, weights={weights!r}, components=4, shard_size=16, workers=1, per_class=3)
print(json.dumps({{"projected": record.counts.projected, "modules": sorted(sys.modules)}}))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder to stand in, with packages and modules of a person's own that have the names of others."""
    folder = tmp_path / "mine"
    for package in ("engines", "flows", "keras"):
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").write_text("raise SystemExit('MY OWN MODULE RAN')\n")
    for module in ("random", "json", "platform"):
        (folder / f"{module}.py").write_text("raise SystemExit('MY OWN MODULE RAN')\n")
    return folder


@pytest.mark.parametrize("way", ["a file without a main guard", "standard input"])
def test_a_script_runs_it_quietly_and_without_prefect(
    photos: Path, weights: str, tmp_path: Path, folder: Path, way: str
) -> None:
    output = tmp_path / "output"
    script = SCRIPT.format(source=str(photos), output=str(output), weights=weights)
    if way == "standard input":
        command, given = [sys.executable, "-P", "-"], script
    else:
        (tmp_path / "script").mkdir()
        (tmp_path / "script" / "features.py").write_text(script)
        command, given = [sys.executable, str(tmp_path / "script" / "features.py")], ""
    done = subprocess.run(command, cwd=folder, input=given, capture_output=True, text=True, timeout=280, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    printed = json.loads(done.stdout)
    assert printed["projected"] == 30
    modules = {name.partition(".")[0] for name in printed["modules"]}
    assert not modules & {"prefect", "sqlalchemy", "typer", "tensorflow", "keras"}
    assert json.loads((output / "run.json").read_text())["counts"]["projected"] == 30


def test_the_command_imports_no_prefect_where_no_server_is(photos: Path, weights: str, tmp_path: Path) -> None:
    script = f"""
import sys
from flows.cli import app

options = ["--weights", {weights!r}, "--components", "4", "--per-class", "3", "--workers", "1"]
app(["run", {str(photos)!r}, {str(tmp_path / "output")!r}, *options], standalone_mode=False)
loaded = {{name.partition(".")[0] for name in sys.modules}}
assert not loaded & {{"prefect", "sqlalchemy", "tensorflow"}}, loaded
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment["PREFECT_HOME"] = str(tmp_path / "home")
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "home").exists()


def test_what_cannot_be_done_is_raised_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        run_chain(str(tmp_path / "nowhere"), str(tmp_path / "output"))
    with pytest.raises(InputError, match="the parameter output is missing"):
        run_chain(str(tmp_path), "")
    with pytest.raises(TypeError, match="colour"):
        run_chain(str(tmp_path), str(tmp_path / "output"), colour="red")
