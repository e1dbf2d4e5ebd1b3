"""What the compiled files of an archive ask of the machine they run on, read from their ELF headers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

from engines.core.errors import StageError
from engines.emr.settings import WORKERS_GLIBC

WORKERS_SYMBOLS = {"GLIBC": WORKERS_GLIBC, "GLIBCXX": "3.4.33", "CXXABI": "1.3.15", "GCC": "14.0.0"}
"""The latest symbol versions of Amazon Linux 2023: glibc 2.34, and since April 2025 the libraries of GCC 14.
docs.aws.amazon.com/linux/al2023/ug/core-glibc.html, github.com/amazonlinux/container-images/issues/132,
gcc.gnu.org/onlinedocs/libstdc++/manual/abi.html"""

SYSTEM_LIBRARIES = re.compile(
    r"(ld-linux.*|lib(c|m|dl|pthread|rt|util|resolv)\.so\.\d+|libgcc_s\.so\.1|libstdc\+\+\.so\.6|libz\.so\.1)"
)
"""What Amazon Linux 2023 has in every image: glibc, the libraries of GCC, zlib."""

_MACHINES = {"EM_X86_64": "x86_64", "EM_AARCH64": "arm64"}


@dataclass(frozen=True, slots=True)
class SharedObject:
    """A compiled file. `symbols`: library -> the latest version of its symbols that is asked for."""

    path: Path
    architecture: str
    symbols: dict[str, str]
    libraries: tuple[str, ...]
    search_path: tuple[str, ...]


def shared_objects(folder: Path) -> Iterator[SharedObject]:
    """Every ELF file below `folder`, links left out."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                if file.read(4) == b"\x7fELF":
                    yield _read(path, ELFFile(file))


def check_objects(folder: Path, architecture: str) -> str:
    """The glibc that the files below `folder` ask for, such as 2.17.

    Raises StageError unless each is for `architecture` and finds all it needs beside it or on Amazon Linux 2023.
    """
    found = list(shared_objects(folder))
    present = {path.name for path in folder.rglob("*.so*")}
    problems = []
    for one in found:
        name = one.path.relative_to(folder)
        if one.architecture != architecture:
            problems.append(f"{name} is for {one.architecture}")
        problems += [
            f"{name} needs {library}_{version}, EMR's image has {WORKERS_SYMBOLS[library]}"
            for library, version in one.symbols.items()
            if _numbers(version) > _numbers(WORKERS_SYMBOLS[library])
        ]
        problems += [
            f"{name} needs {library}, which is not in the archive"
            for library in one.libraries
            if library not in present and not SYSTEM_LIBRARIES.fullmatch(library)
        ]
        problems += [
            f"{name} looks for libraries in {place}" for place in one.search_path if not place.startswith("$ORIGIN")
        ]
    if problems:
        raise StageError(f"the archive would not run on EMR: {problems[0]}", "\n".join(problems[1:10]))
    return max((one.symbols["GLIBC"] for one in found if "GLIBC" in one.symbols), key=_numbers, default="2.17")


def _read(path: Path, elf: ELFFile) -> SharedObject:
    symbols: dict[str, str] = {}
    libraries: list[str] = []
    places: list[str] = []
    for section in elf.iter_sections():
        if isinstance(section, GNUVerNeedSection):
            for _, versions in section.iter_versions():
                for version in versions:
                    library, _, number = version.name.partition("_")
                    if library in WORKERS_SYMBOLS and re.fullmatch(r"[\d.]+", number):
                        symbols[library] = max(symbols.get(library, "0"), number, key=_numbers)
        elif isinstance(section, DynamicSection):
            for tag in section.iter_tags():
                if tag.entry.d_tag == "DT_NEEDED":
                    libraries.append(tag.needed)
                elif tag.entry.d_tag in ("DT_RPATH", "DT_RUNPATH"):
                    places += [place for place in getattr(tag, tag.entry.d_tag[3:].lower()).split(":") if place]
    machine = str(elf["e_machine"])
    return SharedObject(path, _MACHINES.get(machine, machine), symbols, tuple(libraries), tuple(places))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split("."))
