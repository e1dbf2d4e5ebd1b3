"""A relocatable CPython: uv's standalone build, or a copy of an installed one made to run from any folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from engines.core.errors import InputError

# Of the copied standard library: what a worker never imports, and extensions that would drag in libraries of a desktop.
_UNUSED_MODULES = {"test", "tests", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip", "site-packages"}
_UNUSED_MODULES |= {"dist-packages", "__pycache__", "pydoc_data", "curses", "dbm"}
_UNUSED_EXTENSIONS = re.compile(
    r"(_test|_ctypes_test|_xx|xxlimited|_tkinter|_curses|_gdbm|_dbm|nis|ossaudiodev|readline|_crypt)"
)

# What every Linux with glibc has, in step with its kernel and loader: never copied.
_SYSTEM_LIBRARIES = re.compile(
    r"(linux-vdso|ld-linux|libc\.so|libm\.so|libdl\.so|libpthread\.so|librt\.so|libutil\.so|libresolv\.so"
    r"|libgcc_s\.so|libstdc\+\+\.so)"
)

_DOWNLOAD_SECONDS = 300


def install_standalone(minor: str, folder: Path) -> str:
    """Put uv's standalone CPython `minor` into `folder`; returns what it is called.

    Raises InputError when it cannot be downloaded.
    """
    staging = folder.with_name(folder.name + "-download")
    command = ["uv", "python", "install", "--no-bin", "--install-dir", str(staging), minor]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_DOWNLOAD_SECONDS)
    except subprocess.CalledProcessError as error:
        lines = [line.strip() for line in error.stderr.splitlines() if line.strip()]
        raise InputError(
            f"uv's standalone CPython {minor} cannot be downloaded: {lines[-1] if lines else 'no reason given'}",
            "Try where GitHub can be reached, or copy the installed one: --interpreter copy.",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise InputError(
            f"uv's standalone CPython {minor} was not downloaded within {_DOWNLOAD_SECONDS} s",
            "Use --interpreter copy.",
        ) from error
    builds = [
        path for path in sorted(staging.iterdir()) if path.is_dir() and not path.is_symlink() and "cpython" in path.name
    ]
    (build,) = builds
    shutil.move(build, folder)
    shutil.rmtree(staging)
    # uv marks its builds as not to be installed into; this one is ours.
    (folder / "lib" / f"python{minor}" / "EXTERNALLY-MANAGED").unlink(missing_ok=True)
    _prune_standard_library(folder / "lib" / f"python{minor}")
    return f"uv standalone, {build.name}"


def copy_installed(minor: str, folder: Path) -> str:
    """Copy the CPython that runs this, with the libraries it needs beyond glibc; returns what it is called.

    Raises InputError when it is of another minor version.
    """
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if here != minor or sys.platform != "linux":
        raise InputError(
            f"Python {minor} on Linux is asked for, but this is {here} on {sys.platform}",
            f"Run this with Python {minor} on Linux, or let uv download it: --interpreter standalone.",
        )
    library = folder / "lib"
    standard = library / f"python{minor}"
    (folder / "bin").mkdir(parents=True)
    executable = folder / "bin" / f"python{minor}"
    shutil.copy2(os.path.realpath(sys._base_executable), executable)  # type: ignore[attr-defined]
    for name in ("python", "python3"):
        (folder / "bin" / name).symlink_to(executable.name)
    shutil.copytree(sysconfig.get_path("stdlib"), standard, ignore=_ignore_unused)
    _prune_standard_library(standard)
    (standard / "site-packages").mkdir()
    binaries = [executable, *sorted((standard / "lib-dynload").glob("*.so"))]
    copied = _copy_libraries(binaries, library)
    patchelf = _patchelf()
    for binary in [*binaries, *copied]:
        origin = os.path.relpath(library, binary.parent)
        subprocess.run([*patchelf, "--set-rpath", f"$ORIGIN/{origin}", str(binary)], check=True)
    if strip := shutil.which("strip"):
        subprocess.run([strip, "--strip-unneeded", *map(str, [*binaries, *copied])], check=True)
    version = sys.version.split(maxsplit=1)[0]
    return f"a copy of the installed CPython {version}"


def least_glibc(folder: Path) -> str:
    """The highest version of glibc that any binary below `folder` asks for."""
    found = {(2, 17)}
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and (".so" in path.name or path.parent.name == "bin"):
            for version in re.findall(rb"GLIBC_(\d+)\.(\d+)(?:\.\d+)?\0", path.read_bytes()):
                found.add((int(version[0]), int(version[1])))
    return ".".join(map(str, max(found)))


def _ignore_unused(folder: str, names: list[str]) -> set[str]:
    static = {name for name in names if name.endswith(".a") or name.startswith("config-")}
    extensions = {name for name in names if name.endswith(".so") and _UNUSED_EXTENSIONS.match(name)}
    unused = (
        _UNUSED_MODULES & set(names) if os.path.dirname(folder).endswith("lib") or "site-packages" in names else set()
    )
    return static | extensions | unused | ({"__pycache__"} & set(names))


def _prune_standard_library(standard: Path) -> None:
    """Remove from a standard library what `_ignore_unused` leaves out of a copied one."""
    for name in _UNUSED_MODULES - {"site-packages"}:
        shutil.rmtree(standard / name, ignore_errors=True)  # not every build has every module
    for path in [*standard.glob("config-*"), *standard.rglob("__pycache__")]:
        shutil.rmtree(path)
    for path in [*standard.parent.glob("*.a"), *(standard / "lib-dynload").glob("*.so")]:
        if path.suffix == ".a" or _UNUSED_EXTENSIONS.match(path.name):
            path.unlink()
    for name in ("tcl8.6", "tk8.6", "itcl4.2.4", "thread2.8.9", "tcl9.0", "tk9.0"):
        shutil.rmtree(
            standard.parent / name, ignore_errors=True
        )  # the desktop toolkit of tkinter, where a build has it


def _copy_libraries(binaries: list[Path], library: Path) -> list[Path]:
    """Copy the shared libraries that `binaries` need, found as the loader finds them; ldd lists indirect ones too."""
    copied: dict[str, Path] = {}
    for binary in binaries:
        listed = subprocess.run(["ldd", str(binary)], check=True, capture_output=True, text=True).stdout
        for name, path in re.findall(r"^\s*(\S+) => (/\S+)", listed, re.MULTILINE):
            if name not in copied and not _SYSTEM_LIBRARIES.match(name):
                copied[name] = library / name
                shutil.copy2(os.path.realpath(path), copied[name])
                copied[name].chmod(0o755)
        missing = re.findall(r"^\s*(\S+) => not found", listed, re.MULTILINE)
        if missing:
            raise InputError(f"{binary.name} needs {', '.join(missing)}, which is not installed here", "")
    return list(copied.values())


def _patchelf() -> list[str]:
    found = shutil.which("patchelf")
    return [found] if found else ["uv", "tool", "run", "--quiet", "patchelf"]
