"""What a run and its job say to each other: a log of orders in the output, and an answer to each.

The entries `jobs/RUN/ATTEMPT/order-NNNN.json` are written in their order, each once, by whoever comes first: S3 creates
an object only where there is none (If-None-Match). So everybody sees the same entries in the same order, and no clock
decides anything:

- Of an order and the job's word that it takes no more, one gets the place. Either the job carries the order out, or
  the run sees that it was not taken, and starts another job.
- Of two processes of one run, such as one that was taken for dead, the later entry shows the earlier one that it was
  replaced.
- A process that starts again as the same run finds what it has ordered, and waits for that answer.

An answer is one object, written when its order is done. A job that ends without it has not done the order.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from engines.base import Progress
from engines.core.layout import answer_key, job_progress_key, order_key
from engines.core.storage import open_storage
from engines.core.storage.objects import ObjectStorage


class Kind(StrEnum):
    """What an entry of the log is."""

    STAGE = "stage"
    """An order: run a stage."""
    ATTACHED = "attached"
    """A process of the run waits here for the answer to an earlier order, which another process has given."""
    END = "end"
    """The run needs the job no more."""
    CLOSED = "closed"
    """The job takes no more orders, and ends."""

    @property
    def last(self) -> bool:
        """Whether nothing follows that a job would read."""
        return self in (Kind.END, Kind.CLOSED)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the log. `author`: the process that wrote it; `mark` makes each entry's bytes its own."""

    kind: Kind
    author: str
    stage: str = ""
    request: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    def asks(self, stage: str, request: Mapping[str, Any]) -> bool:
        """Whether this orders that stage with that request."""
        # As the log has it: a tuple is a list there.
        return self.kind is Kind.STAGE and self.stage == stage and self.request == json.loads(json.dumps(request))


class OrderLog:
    """The log of one job, in the folder `folder` of `output`, which has to be an object store."""

    def __init__(self, output: str, folder: str) -> None:
        storage = open_storage(output)
        if not isinstance(storage, ObjectStorage):
            raise TypeError(f"{output} is no object store: orders need objects that are created only once")
        self._storage = storage
        self._folder = folder

    def read(self, number: int) -> Entry | None:
        """The entry `number`, counted from 0, or None if there is none yet."""
        content = self._read(order_key(self._folder, number))
        if content is None:
            return None
        plain = json.loads(content)
        return Entry(**{**plain, "kind": Kind(plain["kind"])})

    def append(self, number: int, entry: Entry) -> bool:
        """Make `entry` the one of this number. False: another one is there already."""
        key, content = order_key(self._folder, number), json.dumps(asdict(entry)).encode()
        # If the answer to an attempt that did succeed is lost, its repetition finds the entry there.
        return self._storage.write_if(key, content, None) is not None or self._read(key) == content

    def ended(self) -> bool:
        """Whether the log has an entry after which no order is taken."""
        number = 0
        while (entry := self.read(number)) is not None:
            if entry.kind.last:
                return True
            number += 1
        return False

    def answer(self, number: int) -> dict[str, Any] | None:
        """What the job has answered to the order `number`: its `report` and `facts`, or its `error`."""
        content = self._read(answer_key(self._folder, number))
        return None if content is None else dict(json.loads(content))

    def write_answer(self, number: int, answer: Mapping[str, Any]) -> None:
        """Answer the order `number`."""
        self._storage.write(answer_key(self._folder, number), json.dumps(answer).encode())

    def progress(self, number: int) -> Progress | None:
        """How far the job is with the order `number`, if it works on it."""
        content = self._read(job_progress_key(self._folder))
        plain = {} if content is None else json.loads(content)
        return Progress(**plain["progress"]) if plain.get("order") == number else None

    def write_progress(self, number: int, progress: Progress) -> None:
        """Say how far the order `number` is."""
        content = {"order": number, "progress": asdict(progress)}
        self._storage.write(job_progress_key(self._folder), json.dumps(content).encode())

    def _read(self, key: str) -> bytes | None:
        found = self._storage.read_version(key)
        return None if found is None else found[0]
