"""Facts about this machine that engines share."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")


def usable_cores() -> int:
    """The cores this process may use: those it may run on, and no more than its control groups give it time for."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def cpu_quota(own: Path = _OWN_CGROUPS, mounted: Path = _CGROUPS) -> float | None:
    """The CPU time that control groups (Linux, versions 1 and 2) allow this process, in cores; None for no limit.

    The smallest of those of its groups and their parents, as far as they can be seen: a container sees its own as root.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return None  # no Linux
    quotas = [quota for folder in _folders(lines, mounted) if (quota := _quota_of(folder)) is not None]
    return min(quotas, default=None)


def _folders(lines: list[str], mounted: Path) -> Iterator[Path]:
    for line in lines:  # hierarchy:controllers:path, see cgroups(7)
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = mounted / controllers if controllers and (mounted / controllers).is_dir() else mounted
        root = mounted / "cpu" if controllers and root == mounted else root
        group = root / path.strip("/")
        yield from (folder for folder in (group, *group.parents) if folder == root or root in folder.parents)


def _quota_of(folder: Path) -> float | None:
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):  # version 2, version 1
        try:
            quota, period = " ".join((folder / name).read_text() for name in names).split()
        except (OSError, ValueError):
            continue
        if quota not in ("max", "-1"):
            return int(quota) / int(period)
    return None
