"""Reading, writing and listing objects below one folder or one URL prefix.

Folders are served by `folder`, everything else (`s3://` and what else obstore supports) by `objects`; `lease` is the
right to write into one.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
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


def read_ahead(
    read: Callable[[T], U], items: list[T], window: int, held: int | None = None
) -> Iterator[U | FruitsError]:
    """Yield `read(item)` for every item in order, with up to `window` reads under way at once.

    Small objects on S3 take 20 to 50 ms each, about ten times what the network needs for an image. Up to `held` items
    (`window` by default) are under way or in memory: so far ahead reading goes on while one read takes its time. A
    FruitsError is yielded in its item's place, so that the caller decides; anything else is raised.
    """
    held = max(window, held or 0)

    def attempt(item: T) -> U | FruitsError:
        try:
            return read(item)
        except FruitsError as error:
            return error

    with ThreadPoolExecutor(max_workers=window, thread_name_prefix="read-ahead") as pool:
        pending: list[Future[U | FruitsError]] = [pool.submit(attempt, item) for item in items[:held]]
        try:
            for position in range(len(items)):
                yield pending.pop(0).result()
                if position + held < len(items):
                    pending.append(pool.submit(attempt, items[position + held]))
        finally:
            for future in pending:
                future.cancel()
