"""Running processes, known by a variable of their environment; where there is no /proc there are none."""

from __future__ import annotations

from pathlib import Path


def processes_with(name: str, value: str) -> list[int]:
    """All living processes that were started with a variable of this value."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes()
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue  # it has ended, or is another user's
        if f"{name}={value}".encode() in environment.split(b"\0") and state != "Z":
            found.append(int(folder.name))
    return found


def command_of(process: int) -> str:
    """The command line of a process; "" for one that has ended."""
    try:
        return Path("/proc", str(process), "cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""
