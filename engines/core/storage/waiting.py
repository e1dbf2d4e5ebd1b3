"""How long an object store is waited for: little at first, more when it is asked again; the longer the more is sent.

Of many small requests a few get no answer for long, while the same request made again is answered at once (Dean and
Barroso, The Tail at Scale, 2013; AWS advises the same for S3). A service that is slow is still waited for in the end.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from engines.core.errors import TransientError
from engines.core.storage import aws
from engines.core.storage.store_errors import of_obstore

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ObjectStore

FIRST_WAITS: Final = (timedelta(seconds=3), timedelta(seconds=10))
"""So long the first attempts at reading wait for the next bytes; those that follow wait REQUEST_SECONDS."""

LONGEST: Final = timedelta(minutes=10)
"""So long an answer may take in all, as long as its bytes keep coming."""

SLOWEST: Final = 50_000
"""Bytes a second that a connection takes at least: so long what is written may take."""

OpenStore = Callable[[Any, Any], "ObjectStore"]
"""obstore's store with these `client_options` (ClientConfig) and this `retry_config` (RetryConfig)."""


class PatientStore:
    """One object store, opened once for each way of waiting. Errors are those of obstore."""

    def __init__(self, open_store: OpenStore) -> None:
        self._open = open_store
        self._stores: dict[tuple[timedelta | None, timedelta], ObjectStore] = {}
        self.store = self._waiting(timedelta(seconds=aws.REQUEST_SECONDS), LONGEST)
        """For whatever neither `get` nor `put` does."""

    def get(self, key: str, options: Any = None) -> tuple[bytes, ObjectMeta]:
        """The content of an object, and what the answer says of it."""
        from obstore.exceptions import GenericError

        for wait in FIRST_WAITS:
            try:
                return _get(self._waiting(wait, LONGEST), key, options)
            except GenericError as error:
                if not isinstance(of_obstore(key, error), TransientError):
                    raise
        return _get(self.store, key, options)

    def put(self, key: str, content: bytes, mode: Any = "overwrite") -> str | None:
        """Write an object in one piece; its ETag."""
        import obstore

        seconds = aws.REQUEST_SECONDS
        while seconds * SLOWEST < len(content):
            seconds *= 2  # so that there are few stores
        store = self._waiting(None, timedelta(seconds=seconds))
        return obstore.put(store, key, content, mode=mode, use_multipart=False)["e_tag"]

    def _waiting(self, for_bytes: timedelta | None, in_all: timedelta) -> ObjectStore:
        """The store that waits so long for the next bytes (None: as long as for all), and so long for all.

        While it sends, no bytes come.
        """
        found = self._stores.get((for_bytes, in_all))
        if found is None:
            waits = {"timeout": in_all} if for_bytes is None else {"timeout": in_all, "read_timeout": for_bytes}
            retry = {
                # The time is what bounds them.
                "max_retries": 0 if for_bytes in FIRST_WAITS else 10_000,
                "retry_timeout": timedelta(seconds=aws.RETRY_SECONDS),
                "backoff": {
                    "init_backoff": timedelta(milliseconds=100),
                    "max_backoff": timedelta(seconds=aws.LONGEST_PAUSE),
                    "base": 2,
                },
            }
            # Of two threads that open one at once, one's is used.
            found = self._stores.setdefault((for_bytes, in_all), self._open(waits, retry))
        return found


def _get(store: ObjectStore, key: str, options: Any) -> tuple[bytes, ObjectMeta]:
    import obstore

    got = obstore.get(store, key, options=options)
    return bytes(got.bytes()), got.meta
