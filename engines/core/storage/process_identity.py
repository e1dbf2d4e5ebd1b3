"""Which process this is, for another one on the same machine that wants to know whether it is still there."""

from __future__ import annotations

import os
from pathlib import Path

_PROC = Path("/proc")


def process_identity() -> str:
    """This process among all of this machine since it was started; empty where the system does not say (macOS).

    The machine by the id of its boot, and the container by its namespace: numbers of processes mean nothing elsewhere.
    """
    try:
        _, started = _status(os.getpid())
        return f"{_place()} {os.getpid()} {started}"
    except OSError:
        return ""


def has_ended(identity: str) -> bool | None:
    """Whether the process of this identity is gone; None where that cannot be told: it was of another machine."""
    boot, _, rest = identity.partition(" ")
    try:
        if not rest or boot != _place():
            return None
        number, started = rest.split()
        state, since = _status(int(number))
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        return None
    return since != started or state == "Z"  # a zombie only waits for its parent to look


def _place() -> str:
    boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}/{os.readlink(_PROC / 'self/ns/pid')}"


def _status(number: int) -> tuple[str, str]:
    """A process' state, and when it was started in ticks since the boot: its number may be another's by now."""
    fields = (_PROC / str(number) / "stat").read_text().rpartition(")")[2].split()
    return fields[0], fields[19]
