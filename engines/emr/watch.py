"""Waits for a job: for its answer to an order, or for its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from engines.base import Progress
from engines.core import errors
from engines.core.errors import FruitsError, StageError, StorageError, TransientError
from engines.emr.calls import LOGGER, advice
from engines.emr.orders import OrderLog
from engines.emr.protocol import JobRunner, JobStatus, State
from engines.emr.quota import RAISE_QUOTA
from engines.emr.settings import EmrSettings

OnProgress = Callable[[Progress], None]

ANSWER_SECONDS = 2.0
"""How often the answer is looked for, at least: until it is found, all workers wait, and are paid for."""


class Watch:
    """Looks at one job: at what it leaves in the output often, at its state on AWS more and more seldom."""

    def __init__(
        self, runner: JobRunner, settings: EmrSettings, job_id: str, log: OrderLog, check_cost: Callable[[], None]
    ) -> None:
        self._runner = runner
        self._settings = settings
        self._job = job_id
        self._log = log
        self._check_cost = check_cost
        self._began = time.monotonic()
        self._started: float | None = None
        self._seen = ""
        self.over = False
        """Whether the job is known to have ended."""

    def answer(self, number: int, stage: str, on_progress: OnProgress) -> dict[str, Any]:
        """The answer to the order `number`, when it is there.

        Raises StageError when the job does not start or end in time, or has ended without an answer; and what
        `check_cost` raises, which is called at each look at the job's state.
        """
        status = self._poll(stage)
        self._check_cost()
        looked, pause = time.monotonic(), self._settings.poll_seconds
        shown: Progress | None = None
        while True:
            shown = self._show_progress(number, shown, on_progress)
            answer = self._log.answer(number)
            if answer is not None:
                self._show_progress(number, shown, on_progress)  # what was written last before it
                return answer
            if status.state.ended:
                raise self._lost(status, stage)
            if time.monotonic() - looked >= pause:
                former, status = status, self._poll(stage)
                changed = former.aws_state != status.aws_state
                looked = time.monotonic()
                pause = self._settings.poll_seconds if changed else min(self._settings.max_poll_seconds, pause * 1.5)
                if status.state.ended:
                    continue  # its answer, written before its end, may be there by now
                self._check_cost()
            self._check_time(status)
            time.sleep(min(ANSWER_SECONDS, self._settings.poll_seconds))

    def end(self, seconds: float) -> bool:
        """Whether the job has ended, after waiting up to `seconds` for it."""
        deadline = time.monotonic() + seconds
        while not self._poll("end").state.ended:
            if time.monotonic() > deadline:
                return False
            time.sleep(min(ANSWER_SECONDS, self._settings.poll_seconds))
        return True

    def _poll(self, stage: str) -> JobStatus:
        """The job's state, which is said when it is new."""
        status = self._runner.poll(self._job)
        if status.aws_state != self._seen:
            LOGGER.info("%s: %s%s", stage, status.aws_state, f" ({status.detail})" if status.detail else "")
            self._seen = status.aws_state
        if status.state is not State.WAITING:
            self._started = self._started or time.monotonic()
        self.over = status.state.ended
        return status

    def _check_time(self, status: JobStatus) -> None:
        now = time.monotonic()
        if self._started is None and (now - self._began) / 60 > self._settings.start_timeout_minutes:
            raise StageError(
                f"the job {self._job} did not start within {self._settings.start_timeout_minutes:g} minutes: "
                f"{status.aws_state} {status.detail}".rstrip(),
                "It was cancelled. Check the capacity limit of the application and the vCPU quota of the account, "
                "choose fewer executors, or raise start_timeout_minutes.",
            )
        if self._started is not None and (now - self._started) / 60 > self._settings.timeout_minutes:
            raise StageError(
                f"the job {self._job} ran longer than {self._settings.timeout_minutes} minutes",
                "It was cancelled; what it did is kept. Raise timeout_minutes, or give it more executors.",
            )

    def _lost(self, status: JobStatus, stage: str) -> StageError:
        """Why an ended job has not answered."""
        if status.state is State.CANCELLED:
            return cancelled(status)
        if "ServiceQuotaExceeded" in status.detail:
            # Though it was made to fit: other jobs of the account use the quota too, or it could not be read.
            return StageError(
                f"the job {status.id} ({stage}) failed: {status.detail}",
                f"Wait for other jobs of the account to end, or give this one fewer executors. {RAISE_QUOTA}",
            )
        if advised := advice(status.detail):
            return StageError(f"the job {status.id} ({stage}) failed: {status.detail}", advised)
        how = "ended without an answer" if status.state is State.SUCCEEDED else "failed"
        return StageError(
            f"the job {status.id} ({stage}) {how}: {status.detail or status.aws_state}",
            f"The end of the driver's log:\n{self._runner.logs(status.id)}",
        )

    def _show_progress(self, number: int, shown: Progress | None, on_progress: OnProgress) -> Progress | None:
        try:
            progress = self._log.progress(number)
        except (StorageError, TransientError) as error:
            # Progress is only for display: failing to read it must not fail the stage.
            LOGGER.warning("the job's progress cannot be read: %s", error.message)
            return shown
        if progress is not None and progress != shown:
            on_progress(progress)
        return progress or shown


def cancelled(status: JobStatus) -> StageError:
    """A job that somebody stopped is not worth another attempt, so this is no error that may heal."""
    return StageError(
        f"the job {status.id} was cancelled: {status.detail or 'by someone else'}",
        "Run again: what was done is kept.",
    )


def result_of(answer: dict[str, Any]) -> dict[str, Any]:
    """What an answer holds: `report` and `facts`. Raises the stage's error, of the class that it had in the job."""
    if "error" in answer:
        raise _error(answer["error"])
    return answer


def _error(explained: dict[str, Any]) -> FruitsError:
    if explained["kind"] == "DamagedError":
        return errors.DamagedError(
            explained["message"], explained["hint"], explained["finding"], tuple(explained["shards"])
        )
    kind = getattr(errors, explained["kind"], StageError)
    error: FruitsError = kind(explained["message"], explained["hint"])
    return error
