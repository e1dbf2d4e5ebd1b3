"""What Prefect's page shows of a run: progress while it goes on; a summary, a table and a link at its end."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import cast
from urllib.parse import quote
from uuid import UUID

import httpx
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.logging import get_run_logger

from engines.base import Progress
from engines.core.layout import REPORT
from engines.core.output import Counts, RunRecord
from engines.core.rejects import REASONS
from engines.core.storage import is_folder, open_storage
from engines.emr.cost import closing_line
from flows.views.overview import left_out_rows
from flows.views.progress import Listener, tell, throttled
from flows.views.summary import arithmetic_remarks, fitted_to, model_line

_UNITS = {"fit_pca": "groups of shards", "neighbours": "questions"}
_SHOWN = {"fit_pca": "fit PCA", "neighbours": "nearest images"}


@contextlib.contextmanager
def progress_shown(stage: str) -> Iterator[Listener]:
    """A listener for this context: hands progress to the terminal's listener, and shows it as an artifact.

    The artifact is a view of the work, not the work: while the server cannot be reached it stands still.
    """
    key = f"{stage.replace('_', '-')}-progress"
    name, unit = _SHOWN.get(stage, stage), _UNITS.get(stage, "images")
    logger = get_run_logger()
    artifact: UUID | None = None
    shown = False

    def put(percent: float, text: str) -> None:
        nonlocal artifact
        try:
            if artifact is None:
                artifact = cast(UUID, create_progress_artifact(progress=percent, key=key, description=text))
            else:
                update_progress_artifact(artifact, progress=percent, description=text)
        except httpx.HTTPError as error:
            logger.warning("The progress on Prefect's page stands still: %s", error)

    def show(progress: Progress) -> None:
        nonlocal shown
        shown = True
        percent = 100.0 * progress.done / progress.total if progress.total else 100.0
        put(percent, f"{name}: {progress.done:,} of {progress.total:,} {unit}")

    to_artifact = throttled(show)

    def listener(progress: Progress) -> None:
        tell(progress)
        to_artifact(progress)

    put(0.0, f"{name}: not begun")
    yield listener
    if not shown:
        # A stage that finds everything done makes no progress of its own.
        put(100.0, f"{name}: all done by a former run")


def publish_summary(output: str, record: RunRecord, timings: dict[str, float], *, unchanged: bool = False) -> None:
    """See flows.chain.Show: a summary as markdown, this run's time per stage as a table, and a link to the report.

    `unchanged`: this run found it published by a former one.
    """
    markdown = summary_markdown(output, record, unchanged=unchanged)
    create_markdown_artifact(markdown, key="summary", description=f"What is in {output}")
    total = sum(timings.values())
    rows: list[dict[str, str | float]] = [
        {"stage": stage, "seconds": round(seconds, 1), "share": f"{seconds / total:.0%}" if total else ""}
        for stage, seconds in timings.items()
    ]
    rows.append({"stage": "together", "seconds": round(total, 1), "share": ""})
    create_table_artifact(rows, key="time-per-stage", description="Seconds per stage")
    create_link_artifact(link_to(output, REPORT), key="report", link_text=REPORT, description=f"The report of {output}")


def summary_markdown(output: str, record: RunRecord, *, unchanged: bool = False) -> str:
    """Counts, rejects by reason, variance, cost, and where everything lies."""
    counts = record.counts
    storage = open_storage(output)
    lines = [
        f"# {counts.projected:,} images in {record.components:,} dimensions",
        "",
        *([f"This run had nothing to do: the figures are of the run of {record.finished}.", ""] if unchanged else []),
        "| images | count | |",
        "|:--|--:|:--|",
        f"| listed | {counts.listed:,} | of {counts.labels:,} classes |",
        *(f"| – {split or '(no split)'} | {images:,} | |" for split, images in record.splits.items()),
        *(f"| {heading} | {count} | {which} |" for heading, count, which in left_out_rows(record.left_out or {})),
        f"| featurized | {counts.featurized:,} | {_reused(counts)} |",
        f"| rejected | {counts.rejected:,} | |",
        *(f"| – {reason} | {count:,} | {REASONS[reason]} |" for reason, count in record.rejected_by_reason.items()),
        f"| projected | {counts.projected:,} | |",
        "",
        "| variance | |",
        "|:--|--:|",
        f"| explained by {record.components:,} components | {record.explained_variance:.2%}{fitted_to(record)} |",
        f"| components for 95 % | {record.components_for_95:,} |",
        "",
        f"**Cost** {_cost(record)}",
        "",
        f"**Report** [{storage.uri('report.html')}]({link_to(output, 'report.html')})  ",
        f"**Results** `{storage.uri(record.results)}`  ",
        f"**Model** {model_line(record)}  ",
        f"**Engine** {record.engine}",
        *(f"\n**Photos** {remark}" for remark in record.remarks),
        *(f"\n**Arithmetic** {remark}" for remark in arithmetic_remarks(record)),
    ]
    return "\n".join(lines)


REPORTS_URL = "FRUITS_REPORTS_URL"
"""Variable with the address that this machine's folders are served under (deployments/report_server.py), such as
http://127.0.0.1:4201; without it links are file://, which browsers do not open from Prefect's page."""


def link_to(output: str, key: str) -> str:
    """An address a browser opens: the file, over http where it is served, or its page in the S3 console."""
    if is_folder(output):
        return os.environ.get(REPORTS_URL, "file://") + quote(open_storage(output).uri(key))
    if output.startswith("s3://"):
        bucket, _, prefix = output.removeprefix("s3://").partition("/")
        return f"https://console.aws.amazon.com/s3/object/{bucket}?prefix={quote(f'{prefix}/{key}'.lstrip('/'))}"
    return open_storage(output).uri(key)


def _reused(counts: Counts) -> str:
    return f"{counts.reused:,} images done by a former run" if counts.reused else ""


def _cost(record: RunRecord) -> str:
    details = record.engine_details
    if line := closing_line(details):
        return f"{line}, at prices of {details['prices_of']}" if "prices_of" in details else line
    return str(details.get("cost_usd") or details.get("billed") or "none: nothing was rented")
