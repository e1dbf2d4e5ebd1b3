"""Reading, writing and listing objects below one folder or one URL prefix.

Folders are served by `engines.core.folder_storage`, everything else (`s3://` and what else obstore supports) by
`engines.core.object_storage`.
"""

from __future__ import annotations

import functools
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO, TypeVar
from urllib.parse import unquote

from engines.core.errors import FruitsError, InputError

DANGLING_LINK = "dangling-link"
"""The `version` of a symbolic link that points nowhere: listed, so that it is counted, but never readable."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One listed object: its key relative to the storage, its size in bytes, and a version that changes with it."""

    key: str
    size: int
    version: str


class Storage(ABC):
    """All objects below one location. Keys are relative, `/`-separated, Unicode."""

    url: str
    """The location without a trailing slash: an absolute folder, or a URL."""

    def uri(self, key: str) -> str:
        """The full path or URI of `key`, as it stands in the `path` column of every table."""
        return f"{self.url}/{key}" if self.url != "/" else f"/{key}"

    def key(self, uri: str) -> str:
        """The inverse of `uri`."""
        return uri[len(self.uri("")) :]

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Every object below the folder `prefix`, in the order of the keys' UTF-8 bytes.

        A location that does not exist lists as empty.
        """

    @abstractmethod
    def read(self, key: str) -> bytes:
        """The whole object. Raises StorageError (gone, forbidden) or TransientError (may heal)."""

    @abstractmethod
    def open(self, key: str) -> IO[bytes]:
        """A seekable binary file of the object, for readers that need only a part of it."""

    @abstractmethod
    def write(self, key: str, content: bytes) -> None:
        """Put the object in place whole, or not at all, replacing a former one."""

    @abstractmethod
    def exists(self, key: str) -> bool:
        """Whether the object is there."""

    @abstractmethod
    def check_writable(self) -> None:
        """Raise InputError unless an object can be written now."""


def normalize_location(location: str) -> str:
    """The one spelling of a location: an absolute folder without trailing slash, or `scheme://host/prefix`.

    Symbolic links are left as the caller wrote them. Raises InputError for an empty location or one of no known form.
    """
    if not location:
        raise InputError("an empty location was given", "Name a folder or a URL such as s3://bucket/prefix.")
    try:
        location.encode()
    except UnicodeEncodeError:
        raise InputError(f"the location {location!r} is not Unicode (UTF-8)", "Rename the folder.") from None
    if is_folder(location):
        return os.path.abspath(os.path.expanduser(location))
    scheme, rest = location.split("://", 1)
    scheme = {"s3a": "s3", "s3n": "s3"}.get(scheme.lower(), scheme.lower())
    if scheme == "file":
        # By hand: to urlsplit a `#` or `?` ends the path, but here it belongs to a folder's name.
        host, slash, path = rest.partition("/")
        if host not in ("", "localhost"):
            raise InputError(f"{location} names another machine: {host}", "Write file:///absolute/folder.")
        return os.path.abspath(unquote(slash + path))
    if not rest.partition("/")[0]:
        raise InputError(f"{location} names no bucket", "Write s3://bucket or s3://bucket/prefix.")
    return f"{scheme}://{rest.rstrip('/')}"


def is_folder(location: str) -> bool:
    """Whether a location is a local folder, as opposed to a URL."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", location) is None


@functools.lru_cache(maxsize=64)
def open_storage(location: str) -> Storage:
    """The storage at `location` (see `normalize_location`); one per process, so that connections are reused."""
    from engines.core.folder_storage import FolderStorage
    from engines.core.object_storage import open_object_storage

    location = normalize_location(location)
    return FolderStorage(location) if is_folder(location) else open_object_storage(location)


def read_ahead(read: Callable[[T], bytes], items: list[T], window: int) -> Iterator[bytes | FruitsError]:
    """Yield `read(item)` for every item in order, with up to `window` reads under way at once.

    Small objects on S3 take 20 to 50 ms each, about ten times what the network needs for an image. A FruitsError is
    yielded in its item's place, so that the caller decides; anything else is raised.
    """

    def attempt(item: T) -> bytes | FruitsError:
        try:
            return read(item)
        except FruitsError as error:
            return error

    with ThreadPoolExecutor(max_workers=window, thread_name_prefix="read-ahead") as pool:
        pending: list[Future[bytes | FruitsError]] = [pool.submit(attempt, item) for item in items[:window]]
        try:
            for position in range(len(items)):
                yield pending.pop(0).result()
                if position + window < len(items):
                    pending.append(pool.submit(attempt, items[position + window]))
        finally:
            for future in pending:
                future.cancel()
