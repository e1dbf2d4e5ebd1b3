"""Watches a job until it ends, and reads what it wrote to the output."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from engines.base import Progress
from engines.core import errors
from engines.core.errors import FruitsError, StageError, StorageError, TransientError
from engines.core.storage import open_storage
from engines.emr.calls import LOGGER
from engines.emr.protocol import JobName, JobRunner, JobStatus, State
from engines.emr.quota import RAISE_QUOTA
from engines.emr.settings import EmrSettings

OnProgress = Callable[[Progress], None]


def watch(
    runner: JobRunner, settings: EmrSettings, job_id: str, name: JobName, output: str, on_progress: OnProgress
) -> JobStatus:
    """Poll until the job has ended. Raises StageError when it does not start or end in time."""
    began = time.monotonic()
    started: float | None = None
    pause = settings.poll_seconds
    seen = ""
    shown: Progress | None = None
    while True:
        status = runner.poll(job_id)
        now = time.monotonic()
        if status.aws_state != seen:
            LOGGER.info("%s: %s%s", name.stage, status.aws_state, f" ({status.detail})" if status.detail else "")
            seen, pause = status.aws_state, settings.poll_seconds
        shown = _show_progress(output, name, shown, on_progress)
        if status.state.ended:
            return status
        if status.state is not State.WAITING:
            started = started or now
        waited = (now - began) / 60
        if started is None and waited > settings.start_timeout_minutes:
            raise StageError(
                f"the job {job_id} did not start within {settings.start_timeout_minutes:g} minutes: "
                f"{status.aws_state} {status.detail}".rstrip(),
                "It was cancelled. Check the capacity limit of the application and the vCPU quota of the account, "
                "choose fewer executors, or raise start_timeout_minutes.",
            )
        if started is not None and (now - started) / 60 > settings.timeout_minutes:
            raise StageError(
                f"the job {job_id} ran longer than {settings.timeout_minutes} minutes",
                "It was cancelled; what it did is kept. Raise timeout_minutes, or give it more executors.",
            )
        time.sleep(pause)
        pause = min(settings.max_poll_seconds, pause * 1.5)


def read_report(runner: JobRunner, status: JobStatus, name: JobName, output: str) -> dict[str, Any]:
    """What an ended job wrote: its `report`, and `facts` about where it ran. Raises the job's error if it failed."""
    storage = open_storage(output)
    result: dict[str, Any] = json.loads(storage.read(name.report_key)) if storage.exists(name.report_key) else {}
    if status.state is State.SUCCEEDED and "report" in result:
        return result
    if "error" in result:
        raise _error(result["error"])
    if status.state is State.CANCELLED:
        # Not retried automatically: a person stopped the job, or AWS did at its time limit.
        raise StageError(
            f"the job {status.id} ({name.stage}) was cancelled: {status.detail or 'by someone else'}",
            "Run again: what was done is kept.",
        )
    if status.state is State.SUCCEEDED:
        raise StageError(
            f"the job {status.id} ended without a report in {storage.uri(name.report_key)}",
            f"The end of the driver's log:\n{runner.logs(status.id)}",
        )
    if "ServiceQuotaExceeded" in status.detail:
        # Though it was made to fit: other jobs of the account use the quota too, or it could not be read.
        raise StageError(
            f"the job {status.id} ({name.stage}) failed: {status.detail}",
            f"Wait for other jobs of the account to end, or give this one fewer executors. {RAISE_QUOTA}",
        )
    raise StageError(
        f"the job {status.id} ({name.stage}) failed: {status.detail or status.aws_state}",
        f"The end of the driver's log:\n{runner.logs(status.id)}",
    )


def _show_progress(output: str, name: JobName, shown: Progress | None, on_progress: OnProgress) -> Progress | None:
    storage = open_storage(output)
    try:
        if not storage.exists(name.progress_key):
            return shown
        progress = Progress(**json.loads(storage.read(name.progress_key)))
    except (StorageError, TransientError) as error:
        # Progress is only for display: failing to read it must not fail the job.
        LOGGER.warning("the progress of %s cannot be read: %s", name.stage, error.message)
        return shown
    if progress != shown:
        on_progress(progress)
    return progress


def _error(explained: dict[str, str]) -> FruitsError:
    """The stage's error, as an exception of the class that it had in the job."""
    kind = getattr(errors, explained["kind"], StageError)
    error: FruitsError = kind(explained["message"], explained["hint"])
    return error
