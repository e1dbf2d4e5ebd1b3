"""Reading, writing and listing objects below one folder or one URL prefix.

Folders are served by `folder`, everything else (`s3://` and what else obstore supports) by `objects`; `lease` is the
right to write into one.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import TypeVar

from engines.core.errors import FruitsError
from engines.core.storage.base import DANGLING_LINK, SPECIAL_FILE, UNREADABLE, Storage, StoredObject
from engines.core.storage.folder import FolderStorage
from engines.core.storage.locations import is_folder, key_of, normalize_location

__all__ = [
    "DANGLING_LINK",
    "SPECIAL_FILE",
    "UNREADABLE",
    "Storage",
    "StoredObject",
    "is_folder",
    "key_of",
    "normalize_location",
    "open_storage",
    "read_ahead",
    "read_as_completed",
]

T = TypeVar("T")
U = TypeVar("U")


_opening = threading.RLock()
"""A cache alone has all threads open what none has opened yet: the first 32 reads of a bucket would be 32 sets of
credentials and certificates, half a gigabyte."""


def open_storage(location: str) -> Storage:
    """The storage at `location` (see `normalize_location`); one per process, so that connections are reused."""
    with _opening:
        return _opened(location)


@functools.lru_cache(maxsize=64)
def _opened(location: str) -> Storage:
    location = normalize_location(location)
    if is_folder(location):
        return FolderStorage(location)
    # Here, as a folder needs nothing of what knows HTTP, TLS and XML.
    from engines.core.storage.objects import open_object_storage

    return open_object_storage(location)


def read_ahead(read: Callable[[T], U], items: list[T], window: int) -> Iterator[U | FruitsError]:
    """Yield `read(item)` for every item in order, with up to `window` reads under way at once.

    Small objects on S3 take 20 to 50 ms each, about ten times what the network needs for an image. A FruitsError is
    yielded in its item's place, so that the caller decides; anything else is raised.
    """
    with ThreadPoolExecutor(max_workers=window, thread_name_prefix="read-ahead") as pool:
        pending = [pool.submit(_outcome, read, item) for item in items[:window]]
        try:
            for position in range(len(items)):
                yield pending.pop(0).result()
                if position + window < len(items):
                    pending.append(pool.submit(_outcome, read, items[position + window]))
        finally:
            for future in pending:
                future.cancel()


def read_as_completed(
    read: Callable[[T], U], items: list[T], window: int, held: int
) -> Iterator[tuple[int, U | FruitsError]]:
    """Yield the position of every item and `read(item)`, or its FruitsError, in the order in which the reads end.

    Up to `window` reads are under way at once, and up to `held` items (at least `window`) under way or in memory: a
    read that takes long, or is tried again, holds up no other. Anything else that is raised is raised here.
    """
    held = max(window, held)
    ended: SimpleQueue[int] = SimpleQueue()
    pending: dict[int, Future[U | FruitsError]] = {}

    with ThreadPoolExecutor(max_workers=window, thread_name_prefix="read-ahead") as pool:

        def submit(position: int) -> None:
            pending[position] = pool.submit(_outcome, read, items[position])
            pending[position].add_done_callback(lambda _: ended.put(position))

        try:
            for position in range(min(held, len(items))):
                submit(position)
            for following in range(held, held + len(items)):
                position = ended.get()
                yield position, pending.pop(position).result()
                if following < len(items):
                    submit(following)
        finally:
            for future in pending.values():
                future.cancel()


def _outcome(read: Callable[[T], U], item: T) -> U | FruitsError:
    try:
        return read(item)
    except FruitsError as error:
        return error
