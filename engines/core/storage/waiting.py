"""How long an object store is waited for: little at first, more when it is asked again; the longer the more is sent.

Of many small requests a few get no answer for long, while the same request made again is answered at once (Dean and
Barroso, The Tail at Scale, 2013; AWS advises the same for S3). A service that is slow is still waited for in the end.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from engines.core.errors import TransientError
from engines.core.storage import aws
from engines.core.storage.store_errors import of_obstore

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ObjectStore

FIRST_WAITS: Final = (timedelta(seconds=1), timedelta(seconds=3), timedelta(seconds=10))
"""So long the first attempts at reading wait for the next bytes; those that follow wait REQUEST_SECONDS.

S3 begins to answer after 0.1 to 0.2 s (AWS, Performance design patterns for Amazon S3).
"""

HASTY_RETRIES: Final = 2
"""How often an attempt at reading that does not wait long is made again before the next one waits longer."""

_MANY: Final = 10_000
"""Then the time is what bounds them."""

SLOW_ANSWERS: Final = 5
"""After so many answers in a row that took longer than the first attempt waits, there is no such attempt any more."""

LONGEST: Final = timedelta(minutes=10)
"""So long an answer may take in all, as long as its bytes keep coming."""

FIRST_SENDING: Final = (timedelta(seconds=10), 500_000)
"""So long the first attempt at writing may take, or as long as the content takes at so many bytes a second."""

SLOWEST: Final = 50_000
"""The same of those that follow, whose shortest time is REQUEST_SECONDS."""

OpenStore = Callable[[Any, Any], "ObjectStore"]
"""obstore's store with these `client_options` (ClientConfig) and this `retry_config` (RetryConfig)."""


class PatientStore:
    """One object store, opened once for each way of waiting. Errors are those of obstore."""

    def __init__(self, open_store: OpenStore) -> None:
        self._open = open_store
        self._stores: dict[tuple[timedelta, timedelta | None, int], ObjectStore] = {}
        self.store = self._waiting(LONGEST, timedelta(seconds=aws.REQUEST_SECONDS))
        """For whatever neither `get` nor `put` does."""
        self._waits_left_out = 0
        self._slow_answers = 0

    def get(self, key: str, options: Any = None) -> tuple[bytes, ObjectMeta]:
        """The content of an object, and what the answer says of it."""
        waits = FIRST_WAITS[self._waits_left_out :]
        for number, wait in enumerate(waits):
            with _asked_again(key), self._learning(waits[0] if number else None):
                return _get(self._waiting(LONGEST, wait, retries=HASTY_RETRIES), key, options)
        with self._learning(waits[0] if waits else None):
            return _get(self.store, key, options)

    @contextlib.contextmanager
    def _learning(self, first_wait: timedelta | None) -> Iterator[None]:
        """Learn from an answer to a later attempt within this context whether the first one should have waited."""
        began = time.monotonic()
        yield
        if first_wait is not None:
            slow = time.monotonic() - began > first_wait.total_seconds()
            self._slow_answers = self._slow_answers + 1 if slow else 0
            if self._slow_answers >= SLOW_ANSWERS:  # threads that count at once may leave a number out
                self._waits_left_out, self._slow_answers = self._waits_left_out + 1, 0

    def put(self, key: str, content: bytes, mode: Any = "overwrite") -> str | None:
        """Write an object in one piece; its ETag."""
        if mode == "overwrite":  # else an attempt without an answer may have done it, so that the next one fails
            with _asked_again(key):
                return _put(self._waiting(_time_for(content, *FIRST_SENDING), retries=0), key, content, mode)
        patience = _time_for(content, timedelta(seconds=aws.REQUEST_SECONDS), SLOWEST)
        return _put(self._waiting(patience), key, content, mode)

    def _waiting(self, in_all: timedelta, for_bytes: timedelta | None = None, *, retries: int = _MANY) -> ObjectStore:
        """The store that waits so long for an answer, and so long for its next bytes, and asks so often again.

        While it sends, no bytes come: then `for_bytes` is None.
        """
        found = self._stores.get((in_all, for_bytes, retries))
        if found is None:
            client = {"timeout": in_all} if for_bytes is None else {"timeout": in_all, "read_timeout": for_bytes}
            retry = {
                "max_retries": retries,
                "retry_timeout": timedelta(seconds=aws.RETRY_SECONDS),
                "backoff": {
                    "init_backoff": timedelta(milliseconds=100),
                    "max_backoff": timedelta(seconds=aws.LONGEST_PAUSE),
                    "base": 2,
                },
            }
            # Of two threads that open one at once, one's is used.
            found = self._stores.setdefault((in_all, for_bytes, retries), self._open(client, retry))
        return found


@contextlib.contextmanager
def _asked_again(key: str) -> Iterator[None]:
    """A fault that may heal ends this context, for what follows to try again; all else is raised."""
    from obstore.exceptions import GenericError

    try:
        yield
    except GenericError as error:
        if not isinstance(of_obstore(key, error), TransientError):
            raise


def _time_for(content: bytes, shortest: timedelta, bytes_per_second: int) -> timedelta:
    """The shortest time, doubled until the content fits, so that there are few."""
    patience = shortest
    while patience.total_seconds() * bytes_per_second < len(content):
        patience *= 2
    return patience


def _get(store: ObjectStore, key: str, options: Any) -> tuple[bytes, ObjectMeta]:
    import obstore

    got = obstore.get(store, key, options=options)
    return bytes(got.bytes()), got.meta


def _put(store: ObjectStore, key: str, content: bytes, mode: Any) -> str | None:
    import obstore

    return obstore.put(store, key, content, mode=mode, use_multipart=False)["e_tag"]
