"""The machine that was measured on."""

from __future__ import annotations

import datetime
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = (
    *("numpy", "pillow", "pyarrow", "ai-edge-litert", "tensorflow", "keras"),
    *("dask", "pyspark", "scikit-learn", "ray", "daft"),
)


def usable() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe_machine() -> dict[str, str]:
    """CPU, cores, memory, system, and versions of what takes part."""
    found = {"Python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue  # what needs it is left out, and says so
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": _cpu(),
        "cores": str(usable()),
        "memory": f"{memory:.0f} GiB",
        "system": f"{_system()}, {platform.system()} {platform.release()}",
        "versions": ", ".join(f"{name} {number}" for name, number in found.items()),
    }


def load() -> float:
    """Processes that ran or waited for a core during the last minute, on average."""
    return os.getloadavg()[0]


def today() -> str:
    """The date, in UTC."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def _cpu() -> str:
    facts = Path("/proc/cpuinfo")
    if facts.is_file():
        lines = [line.partition(":") for line in facts.read_text().splitlines()]
        said = {name.strip(): value.strip() for name, _, value in reversed(lines)}
        if "model name" in said:
            instructions = [name for name in ("avx512f", "avx2") if name in said.get("flags", "").split()]
            return " with ".join([said["model name"], *[name.upper() for name in instructions[:1]]])
    return platform.processor() or platform.machine()


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.platform(terse=True)
