"""The Python of an archive: the one that EMR's image has, or a standalone CPython that the archive brings."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

from engines.core.errors import InputError
from engines.emr.archive import RELEASE_INTERPRETER

RELEASE_FOLDER = "/usr/bin"
"""Where EMR's image has its Pythons, as Amazon Linux 2023 installs them."""

_MACHINES = {"x86_64": "x86_64", "arm64": "aarch64"}

# Of a standalone build's standard library: what a worker never imports.
_UNUSED_MODULES = {"test", "tests", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip", "pydoc_data", "curses"}
_UNUSED_MODULES |= {"dbm"}
_UNUSED_EXTENSIONS = re.compile(r"(_test|_ctypes_test|_xx|xxlimited|_tkinter|_curses|_gdbm|_dbm|readline|_crypt)")
_DESKTOP = ("tcl8.6", "tk8.6", "itcl4.2.4", "thread2.8.9", "tcl9.0", "tk9.0")

_DOWNLOAD_SECONDS = 300


def use_release(minor: str, folder: Path) -> tuple[str, str]:
    """Make `folder` a virtual environment of the image's own Python `minor`, wherever it is unpacked.

    Nothing of this machine is in it: two links and a `pyvenv.cfg`. Returns where the interpreter comes from, and its
    version as far as it is known.
    """
    (folder / "bin").mkdir(parents=True)
    (folder / "lib" / f"python{minor}" / "site-packages").mkdir(parents=True)
    for name in ("python", "python3", f"python{minor}"):
        (folder / "bin" / name).symlink_to(f"{RELEASE_FOLDER}/python{minor}")
    (folder / "pyvenv.cfg").write_text(f"home = {RELEASE_FOLDER}\ninclude-system-site-packages = false\n")
    return RELEASE_INTERPRETER, minor


def install_standalone(minor: str, architecture: str, folder: Path) -> tuple[str, str]:
    """Put a standalone CPython `minor` for `architecture` into `folder`; returns what it is called, and its version.

    uv downloads it, for whichever architecture. Raises InputError when it cannot.
    """
    staging = folder.with_name(folder.name + "-download")
    name = f"cpython-{minor}-linux-{_MACHINES[architecture]}-gnu"
    command = ["uv", "python", "install", "--no-bin", "--install-dir", str(staging), name]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_DOWNLOAD_SECONDS)
    except subprocess.CalledProcessError as error:
        lines = [line.strip() for line in error.stderr.splitlines() if line.strip()]
        raise InputError(
            f"{name} cannot be downloaded: {lines[-1] if lines else 'no reason given'}",
            "Try where GitHub can be reached (or set UV_PYTHON_INSTALL_MIRROR), or use the Python that EMR's image "
            "has: --interpreter release.",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise InputError(
            f"{name} was not downloaded within {_DOWNLOAD_SECONDS} s", "Use --interpreter release."
        ) from error
    (build,) = [
        path for path in staging.iterdir() if path.is_dir() and not path.is_symlink() and "-linux-" in path.name
    ]
    shutil.move(build, folder)
    shutil.rmtree(staging)
    standard = folder / "lib" / f"python{minor}"
    # uv marks its builds as not to be installed into; this one is ours.
    (standard / "EXTERNALLY-MANAGED").unlink(missing_ok=True)
    _prune_standard_library(standard)
    return f"standalone {build.name}", build.name.split("-")[1]


def of_this_machine(minor: str) -> str | None:
    """A Python `minor` of this machine, which compiles bytecode for any other of that version; None without one."""
    if sys.version_info[:2] == tuple(map(int, minor.split("."))):
        return sys.executable
    command = ["uv", "python", "find", "--no-project", "--no-python-downloads", minor]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else None


def runs_here(folder: Path, architecture: str) -> bool:
    """Whether the environment in `folder` runs here: on Linux, that processor, with a Python where it expects one."""
    same = sys.platform == "linux" and platform.machine() == _MACHINES[architecture]
    return same and (folder / "bin" / "python").exists()


def _prune_standard_library(standard: Path) -> None:
    for name in _UNUSED_MODULES:
        shutil.rmtree(standard / name, ignore_errors=True)  # not every build has every module
    for path in [*standard.glob("config-*"), *standard.rglob("__pycache__")]:
        shutil.rmtree(path)
    for path in [*standard.parent.glob("*.a"), *(standard / "lib-dynload").glob("*.so")]:
        if path.suffix == ".a" or _UNUSED_EXTENSIONS.match(path.name):
            path.unlink()
    for name in _DESKTOP:
        shutil.rmtree(standard.parent / name, ignore_errors=True)  # of tkinter, where a build has it
