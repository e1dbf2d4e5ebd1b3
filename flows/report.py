"""report.html: one page about the published results, readable without a server or a network."""

from __future__ import annotations

from typing import Any

from engines.core.storage import open_storage


def write_report(output: str, record: dict[str, Any]) -> None:
    """Write report.html for the run `record` describes."""
    open_storage(output).write("report.html", b"")
