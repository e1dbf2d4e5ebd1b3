"""What Prefect's page shows of a run: progress while it goes on, tables and links at its end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, cast
from uuid import UUID

from prefect.artifacts import (
    create_link_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from engines.base import Engine, Progress
from engines.core.storage import is_folder
from flows.progress import tell, throttled


@contextlib.contextmanager
def progress_of(engine: Engine, key: str) -> Iterator[None]:
    """Within this context the engine's progress goes to the terminal's listener and into a progress artifact."""
    artifact = cast(
        UUID, create_progress_artifact(progress=0.0, key=f"{key}-progress", description=f"Progress of {key}")
    )
    to_artifact = throttled(lambda percent: update_progress_artifact(artifact, progress=percent))

    def listener(progress: Progress) -> None:
        tell(progress)
        to_artifact(progress)

    former, engine.on_progress = engine.on_progress, listener
    try:
        yield
        # A stage that finds everything done makes no progress of its own.
        update_progress_artifact(artifact, progress=100.0)
    finally:
        engine.on_progress = former


def publish_summary(output: str, record: dict[str, Any]) -> None:
    """Tables of counts, of explained variance and of time per stage, and a link to the output."""
    rows = [{"what": name, "count": count} for name, count in record["counts"].items()]
    rows += [{"what": f"rejected: {reason}", "count": count} for reason, count in record["rejected_by_reason"].items()]
    create_table_artifact(rows, key="counts", description="Images of this run")
    variance = [
        {"what": "components", "value": record["components"]},
        {"what": "variance they explain", "value": f"{record['explained_variance']:.2%}"},
        {"what": "components for 95 %", "value": record["components_for_95"]},
    ]
    create_table_artifact(variance, key="explained-variance", description="The fitted PCA")
    timings = [{"stage": stage, "seconds": seconds} for stage, seconds in record["timings"].items()]
    create_table_artifact(timings, key="timings", description="Seconds per stage")
    link = f"file://{output}" if is_folder(output) else output
    create_link_artifact(f"{link}/report.html", key="output", link_text="report.html", description=f"Output: {output}")
