"""Who can reach a process of ours."""

from __future__ import annotations

import contextlib

import psutil


def listening_addresses() -> set[str]:
    """The addresses that this process and all it started listen at."""
    addresses = set()
    this = psutil.Process()
    for process in (this, *this.children(recursive=True)):
        with contextlib.suppress(psutil.Error):  # it has just ended
            addresses |= {
                each.laddr.ip.removeprefix("::ffff:")
                for each in process.net_connections(kind="inet")
                if each.status == psutil.CONN_LISTEN
            }
    return addresses
