"""The wheel, built once, and an environment of its own for each Python: `make test-wheel`.

Needs uv, the package index and some minutes. Pythons are those uv finds or pyenv has; a missing one is skipped by name.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
PYTHONS = ("3.11", "3.12", "3.13")


def uv(*arguments: str | Path, cwd: Path = PROJECT) -> str:
    """Run uv; what it printed."""
    done = subprocess.run(
        ["uv", *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=1200, check=False,
        env={name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def interpreter(minor: str) -> str:
    """The path of an installed CPython. Skips the test when there is none."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    for folder in sorted(root.glob(f"{minor}.*"), reverse=True):
        return str(folder / "bin" / "python")
    found = subprocess.run(
        ["uv", "python", "find", "--no-project", "--no-python-downloads", minor],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if found.returncode != 0:
        pytest.skip(f"no Python {minor}: neither uv nor pyenv has it here (uv python install {minor})")
    return found.stdout.strip()


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel, and an empty folder to call it from."""

    environment: Path
    folder: Path

    def call(self, program: str, *arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment in the folder, with nothing of this process' Python or Prefect."""
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "PYTHON", "VIRTUAL_"))
        }
        return subprocess.run(
            [str(self.environment / "bin" / program), *map(str, arguments)],
            cwd=self.folder, env={**kept, **variables}, capture_output=True, text=True, timeout=900, check=False,
        )  # fmt: skip


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as `uv build` makes it."""
    if shutil.which("uv") is None:
        pytest.skip("uv is not installed")
    target = tmp_path_factory.mktemp("dist")
    uv("build", "--wheel", "--quiet", "--out-dir", target)
    (built,) = target.glob("fruit_features-*.whl")
    return built


def install(wheel: Path, extras: str, minor: str, folder: Path) -> Installed:
    """A new environment of that Python with `wheel[extras]`, as pip would resolve it: without the lock file."""
    environment = folder / "environment"
    uv("venv", "--quiet", "--python", interpreter(minor), environment)
    wanted = f"fruit-features[{extras}] @ {wheel.as_uri()}" if extras else str(wheel)
    uv("pip", "install", "--quiet", "--python", environment / "bin" / "python", wanted, cwd=folder)
    here = folder / "here"
    here.mkdir()
    # A person's own folders may have any name.
    for name in ("engines", "flows", "deployments", "numpy", "prefect"):
        (here / name).mkdir()
        (here / name / "__init__.py").write_text(f"raise SystemExit('{name} of the current folder was imported')\n")
    return Installed(environment, here)
