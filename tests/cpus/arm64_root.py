"""A Debian for ARM in a folder: Python from Debian, the wheels of uv.lock, and a /proc/cpuinfo of an ARM core."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

SUITE = "bookworm"
"""Debian 12: its Python is 3.11."""

CPUINFO = """\
processor\t: 0
BogoMIPS\t: 243.75
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x3
CPU part\t: 0xd0c
CPU revision\t: 1

"""
"""A core of an AWS Graviton 2 (neoverse-n1). Without it LiteRT finds no CPU, and crashes."""


def make_root(folder: Path, project: Path) -> Path:
    """The root below `folder`, made once. `project`: where uv.lock is.

    Needs debootstrap, dpkg-deb, uv, a network, and (debootstrap's own rule) the root user.
    """
    root, wheels = folder / "root", folder / "wheels"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _run(["debootstrap", "--arch=arm64", "--foreign", "--variant=minbase", "--include=python3", SUITE, str(root)])
        # The second stage would configure the packages inside of the root, which nobody boots: unpacking is enough.
        for package in sorted((root / "var/cache/apt/archives").glob("*.deb")):
            _run(["dpkg-deb", "--extract", str(package), str(root)])
        requirements = folder / "requirements.txt"
        _run(
            [
                "uv",
                "export",
                "--frozen",
                "--quiet",
                "--no-emit-project",
                "--no-default-groups",
                "--extra",
                "worker",
                "--project",
                str(project),
                "--output-file",
                str(requirements),
            ]
        )
        _run(
            [
                "uv",
                "pip",
                "install",
                "--quiet",
                "--target",
                str(wheels),
                "--python-version",
                "3.11",
                "--python-platform",
                "aarch64-manylinux_2_28",
                "--only-binary",
                ":all:",
                "-r",
                str(requirements),
            ]
        )
        (root / "proc").mkdir(exist_ok=True)
        (root / "proc/cpuinfo").write_text(CPUINFO)
        (folder / "complete").touch()
    return root


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-1000:]}\n{done.stderr[-2000:]}"
