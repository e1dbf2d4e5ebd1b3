"""The one job of a run, from the run's side: started or found when a stage needs it, given orders, and ended."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from engines.core.errors import FruitsError, StageError, TransientError
from engines.emr.calls import LOGGER
from engines.emr.orders import Entry, Kind, OrderLog
from engines.emr.protocol import JobName, JobRequest, JobRunner, JobStatus, State, output_tag
from engines.emr.settings import EmrSettings
from engines.emr.sizing import Size
from engines.emr.watch import OnProgress, Watch, cancelled, result_of
from engines.patience import Patience

_TRIES = 3
"""Jobs to find or start for one order: one that is found may end by itself before it takes the order."""

END_SECONDS = 60.0
"""How long a job may take to end that has nothing more to do; then it is cancelled."""


class RunJob:
    """Gives the stages of a run to one job, and starts another one only if that has ended.

    The caller holds the output's lease. Should another process take over the run nevertheless, this one sees it in the
    log of orders, raises StageError, and leaves the job alone from then on.
    """

    def __init__(
        self,
        settings: EmrSettings,
        runner: JobRunner,
        run: str,
        patience: Patience,
        check_cost: Callable[[], None] = lambda: None,
    ) -> None:
        """`check_cost` is called at each look at a job that works; what it raises cancels the job."""
        self._settings = settings
        self._patience = patience
        self._check_cost = check_cost
        self._runner = runner
        self._run = run
        self._author = f"run-{uuid.uuid4().hex[:12]}"
        self.ids: list[str] = []
        """The jobs that this process gave orders to."""
        self._job: _Job | None = None
        """The one that has not ended, as far as is known here."""
        self._attempt = -1
        """Its number, or that of the last one."""
        self._replaced = False

    def order(
        self, stage: str, request: Mapping[str, Any], size: Callable[[], Size], on_progress: OnProgress
    ) -> dict[str, Any]:
        """Have the job run a stage, and return its answer: `report` and `facts`.

        `size` is asked for the size of a job that has to be started, and may refuse it. Raises the stage's error as it
        was in the job, which stays; after any other error the job is cancelled.
        """
        for _ in range(_TRIES):
            if self._replaced:
                raise self._taken_over()
            job = self._open(str(request["output"]), size)
            number = job.place(stage, request)
            if number is not None:
                break
            self._replaced = job.replaced
            self._job = None
        else:
            raise TransientError(f"{_TRIES} jobs ended before they took the order {stage}", "Run again.")
        if job.id not in self.ids:
            self.ids.append(job.id)
        try:
            answer = job.watch.answer(number, stage, on_progress)
        except BaseException:
            self.cancel()
            raise
        job.pending = None
        return result_of(answer)

    def end(self) -> None:
        """Tell the job that nothing follows, and wait until it has ended; cancel it if it works, or does not end."""
        job = self._job
        if job is None:
            return
        if job.idle:
            try:
                ends = job.place_end()
            except FruitsError as error:
                LOGGER.warning("the job cannot be told that nothing follows: %s", error.message)
                ends = False
            if ends and job.watch.end(END_SECONDS):
                self._job = None
                return
        self.cancel()

    def cancel(self) -> None:
        """Cancel the job, unless another process has it now. If that fails, it is tried again by `end`."""
        if self._job is None:
            return
        if self._job.is_replaced():
            self._replaced = True
        elif not self._job.watch.over:
            LOGGER.warning("cancelling the job %s", self._job.id)
            self._runner.cancel(self._job.id)
        self._job = None

    def _open(self, output: str, size: Callable[[], Size]) -> _Job:
        """The job that runs, or one that is found, or started. Raises StageError if somebody has cancelled it."""
        if self._job is not None:
            status = self._runner.poll(self._job.id)
            if status.state in (State.CANCELLED, State.ENDING):
                self._job = None
                raise cancelled(status)
            if status.state.ended:
                LOGGER.info("the job %s has ended: %s", self._job.id, status.detail or status.aws_state)
                self._job = None
        if self._job is None:
            wanted = (self._run, output_tag(output))
            known = [job for job in self._runner.find() if (job.name.run, job.name.output) == wanted]
            active = [job for job in known if job.state.active and job.name.attempt > self._attempt]
            former = max([self._attempt, *(job.name.attempt for job in known)])
            self._job = self._attach(active[-1], output) if active else self._start(former + 1, output, size)
            self._attempt = self._job.name.attempt
        return self._job

    def _attach(self, job: JobStatus, output: str) -> _Job:
        """A job of this run that an earlier process has left."""
        LOGGER.info("attaching to the job %s, which is running already", job.id)
        self._runner.adopt(job.id)
        return self._opened(job.id, job.name, output)

    def _start(self, attempt: int, output: str, size: Callable[[], Size]) -> _Job:
        # What AWS has accepted it may list later; a log that has ended is of a job that has.
        while OrderLog(output, JobName(self._run, attempt, output_tag(output)).folder).ended():
            attempt += 1
        name = JobName(self._run, attempt, output_tag(output))
        argument = {
            "output": output,
            "folder": name.folder,
            "idle_seconds": self._settings.job_idle_minutes * 60,
            "region": self._settings.region,
            "patience": asdict(self._patience),
        }
        job = self._submit(JobRequest(name, [json.dumps(argument)], size(), self._patience.tries))
        LOGGER.info("job %s submitted; `fruits emr status %s` links to its Spark UI", job, self._run)
        return self._opened(job, name, output)

    def _opened(self, job: str, name: JobName, output: str) -> _Job:
        log = OrderLog(output, name.folder)
        return _Job(job, name, log, Watch(self._runner, self._settings, job, log, self._check_cost), self._author)

    def _submit(self, job: JobRequest) -> str:
        """Submit the job. If that fails but AWS has accepted it nevertheless, cancel it."""
        try:
            return self._runner.submit(job)
        except BaseException as error:
            try:
                for found in self._runner.find():
                    if found.name == job.name and found.state.active:
                        self._runner.cancel(found.id)
            except FruitsError as second:
                error.add_note(f"it is not known whether AWS accepted the job: {second}")
            raise

    def _taken_over(self) -> StageError:
        return StageError(
            f"another process has taken over the run {self._run}, with its job",
            "This one stops, and leaves the job to it.",
        )


@dataclass
class _Job:
    """A job that was started or found, and how far this process has read and written its log."""

    id: str
    name: JobName
    log: OrderLog
    watch: Watch
    author: str
    next: int = 0
    """The first entry that was not read yet."""
    wrote: bool = False
    pending: tuple[int, str, Mapping[str, Any]] | None = None
    """The order that was given, and is not answered as far as is known: its number, stage and request."""
    replaced: bool = False
    """Whether another process has written to the log after this one."""

    @property
    def idle(self) -> bool:
        """Whether it waits for another order of this process."""
        return self.wrote and self.pending is None

    def place(self, stage: str, request: Mapping[str, Any]) -> int | None:
        """The number of this order, which is put into the log unless it is there and not answered.

        None if the job takes no more orders, or none of this process (`replaced`).
        """
        if self.pending is not None and self.pending[1:] == (stage, request):
            return self.pending[0]
        given: int | None = None
        while True:
            for number, entry in self._unread():
                if entry.kind.last or self.replaced:
                    return None
                if entry.asks(stage, request) and "error" not in (self.log.answer(number) or {}):
                    given = number
            order = Entry(Kind.STAGE, self.author, stage, request)
            if self._append(order if given is None else Entry(Kind.ATTACHED, self.author)):
                number = self.next - 1 if given is None else given
                self.pending = (number, stage, request)
                return number

    def place_end(self) -> bool:
        """Whether the job ends: this process, or the job itself, has said so in the log."""
        for _, entry in self._unread():
            if entry.kind.last or self.replaced:
                return not self.replaced
        return self._append(Entry(Kind.END, self.author)) or self.place_end()

    def is_replaced(self) -> bool:
        """Whether another process has taken the job over, as far as the log can be read."""
        try:
            for _ in self._unread():
                if self.replaced:
                    break
        except FruitsError as error:
            LOGGER.warning("the log of orders cannot be read: %s", error.message)
        return self.replaced

    def _unread(self) -> Iterator[tuple[int, Entry]]:
        while (entry := self.log.read(self.next)) is not None:
            self.next += 1
            self.replaced |= self.wrote and entry.author != self.author and entry.kind is not Kind.CLOSED
            yield self.next - 1, entry

    def _append(self, entry: Entry) -> bool:
        """Whether `entry` is now the next one; if not, another one has come first and is unread."""
        if not self.log.append(self.next, entry):
            return False
        self.next += 1
        self.wrote = True
        return True
