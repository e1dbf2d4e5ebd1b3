"""What EMR Serverless and EMR on EC2 have in common: jobs, their names and states, and the operations on them."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from engines.core.layout import job_folder
from engines.core.storage import normalize_location
from engines.emr.sizing import Size

if TYPE_CHECKING:
    from engines.emr.archive import Manifest

TAG_RUN = "fruit-features:run"
TAG_OUTPUT = "fruit-features:output"


class State(StrEnum):
    """The state of a job, the same for both services."""

    WAITING = "waiting"
    RUNNING = "running"
    ENDING = "ending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def active(self) -> bool:
        """Whether the job may cost money and nobody has asked it to stop."""
        return self in (State.WAITING, State.RUNNING)

    @property
    def ended(self) -> bool:
        """Whether nothing of the job runs any more."""
        return self in (State.SUCCEEDED, State.FAILED, State.CANCELLED)


@dataclass(frozen=True, slots=True)
class JobName:
    """Which run a job belongs to, and which of its jobs it is. It is the job's name on AWS: listings show no tags."""

    run: str
    attempt: int
    output: str
    """Digest of the output's location, see `output_tag`."""

    def __str__(self) -> str:
        return f"fruit-features/{self.run}/{self.attempt}/{self.output}"

    @property
    def token(self) -> str:
        """The client token: the same for every attempt to start this job, so AWS starts it only once."""
        return hashlib.sha256(str(self).encode()).hexdigest()

    @property
    def tags(self) -> dict[str, str]:
        """The job's tags, for people, policies and the allocation of costs."""
        return {TAG_RUN: self.run, TAG_OUTPUT: self.output}

    @property
    def folder(self) -> str:
        """Where in the output the run and this job leave what they say to each other."""
        return job_folder(self.run, self.attempt)

    @classmethod
    def parse(cls, text: str) -> JobName | None:
        """The inverse of `str`; None for a name that is not ours. Jobs of version 0.1.0 had their stage in it."""
        match = re.fullmatch(r"fruit-features/([\w.-]+)(?:/[a-z_]+)?/(\d+)/([0-9a-f]+)", text)
        return cls(match[1], int(match[2]), match[3]) if match else None


@dataclass(frozen=True, slots=True)
class JobRequest:
    """The job to start: its name, the arguments of the entry point, its size, and how often a task is tried."""

    name: JobName
    arguments: list[str]
    size: Size
    tries: int


@dataclass(frozen=True, slots=True)
class Billed:
    """What AWS bills: the resources that it reports (Serverless), or instance hours (EC2).

    `flex_*`, `spot_*`: those on spare capacity, which have another price and are not in the others.
    """

    vcpu_hours: float = 0.0
    memory_gb_hours: float = 0.0
    storage_gb_hours: float = 0.0
    instance_hours: float = 0.0
    flex_vcpu_hours: float = 0.0
    flex_memory_gb_hours: float = 0.0
    spot_instance_hours: float = 0.0

    def __add__(self, other: Billed) -> Billed:
        return Billed(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(Billed)))

    def times(self, factor: float) -> Billed:
        """So many times as much of everything."""
        return Billed(*(getattr(self, each.name) * factor for each in fields(Billed)))


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A job's state now. `aws_state` and `detail` are as AWS gives them; `billed` is None until AWS reports it."""

    id: str
    name: JobName
    state: State
    aws_state: str
    detail: str = ""
    billed: Billed | None = None


class JobRunner(Protocol):
    """Runs jobs on one application or cluster. Every method raises FruitsError only."""

    def submit(self, job: JobRequest) -> str:
        """Start the job and return its id. If a job of this name exists already, return the id of that one."""
        ...

    def adopt(self, job_id: str) -> None:
        """Take over a job that an earlier process of this run started, with whatever was created for it."""
        ...

    def poll(self, job_id: str) -> JobStatus:
        """The job's state now."""
        ...

    def cancel(self, job_id: str) -> None:
        """Ask AWS to stop the job; a job that has ended is left alone."""
        ...

    def logs(self, job_id: str) -> str:
        """The end of the driver's log, or one line that says why it cannot be read."""
        ...

    def find(self) -> list[JobStatus]:
        """All jobs of this project of the last seven days (the longest time a job may run), oldest first."""
        ...

    def dashboard(self, job_id: str) -> str:
        """A link to the Spark UI. Whoever has it is let in: show it only to the person who asked, and never log it."""
        ...

    def stop_leftovers(self, run: str) -> list[str]:
        """Stop what `run` started besides its jobs, such as a cluster. Returns the ids."""
        ...

    def billed(self, run: str) -> Billed | None:
        """What AWS bills for the whole run so far; None while the bill of an ended job is not known."""
        ...

    def used(self, run: str, until: datetime) -> Billed:
        """What the whole run has used by `until`, at most: as billed, else by the size and the time of its jobs.

        `until` may lie ahead: what runs now is taken to go on.
        """
        ...

    def check(self, manifest: Manifest) -> list[str]:
        """Check what this runner needs before anything is started. Returns a line about each; raises InputError."""
        ...

    def describe(self) -> dict[str, str | float]:
        """Where jobs run, for the run record."""
        ...

    def close(self) -> None:
        """Stop what this runner created, even if the answer to the request was lost. May be called twice."""
        ...


def output_tag(output: str) -> str:
    """A short digest of an output's location, however it is spelled. It finds the jobs that write to that place."""
    return hashlib.sha256(normalize_location(output).encode()).hexdigest()[:16]
