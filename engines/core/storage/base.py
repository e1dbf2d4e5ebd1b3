"""What a storage is: objects below one folder or one URL prefix, listed, read and written by their keys."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import IO

from engines.core.errors import ChangedError
from engines.core.storage.locations import uri_of

DANGLING_LINK = "dangling-link"
"""The `version` of a symbolic link that points nowhere: listed, so that it is counted, but never readable."""

UNREADABLE = "unreadable: "
"""What the `version` of a file or folder without permission begins with; behind it, the system's words."""

SPECIAL_FILE = "special-file"
"""The `version` of a pipe, socket or device: listed, so that it is counted, but never read, as that may never end."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One listed object: its key relative to the storage, its size in bytes, and a version that changes with it."""

    key: str
    size: int
    version: str


def version_of(etag: str | None, modified: datetime) -> str:
    """The `version` of an object by its ETag, or else its time: the same from a listing and from a read."""
    return etag.removeprefix("W/").strip('"') if etag else modified.isoformat()


class Storage(ABC):
    """All objects below one location. Keys are relative, `/`-separated, Unicode."""

    url: str
    """The location without a trailing slash: an absolute folder, or a URL."""

    def uri(self, key: str) -> str:
        """The full path or URI of `key`, as it stands in the `path` column of every table."""
        return uri_of(self.url, key)

    def check_key(self, key: str) -> None:  # noqa: B027 - most have nothing to refuse
        """Raise InputError for a listed key that could not be read, whatever it holds."""

    @abstractmethod
    def list(self, prefix: str = "", *, unreadable: bool = False) -> Iterator[StoredObject]:
        """Every object below the folder `prefix`, in the order of the keys' UTF-8 bytes.

        A location that does not exist lists as empty. Raises StorageError or TransientError for what cannot be listed;
        but where permission is missing for a part of it, and `unreadable` is asked for, that part is one object, whose
        version says so and whose key has a slash at its end if it is a folder.
        """

    @abstractmethod
    def read(self, key: str) -> bytes:
        """The whole object. Raises StorageError (gone, forbidden) or TransientError (may heal)."""

    @abstractmethod
    def stat(self, key: str) -> StoredObject | None:
        """The object as `list` has it; None if there is none."""

    @abstractmethod
    def read_range(self, key: str, start: int, length: int, version: str = "") -> bytes:
        """The bytes from `start`, fewer than `length` where the object ends before.

        Raises StorageError if the object is not `version` (as listed) any more, where one is given.
        """

    @abstractmethod
    def read_versioned(self, key: str) -> tuple[bytes, str]:
        """The whole object, and the `version` that a listing says of it now; "" if it changed while it was read."""

    @abstractmethod
    def open(self, key: str) -> IO[bytes]:
        """A seekable binary file of the object, for readers that need only a part of it."""

    @abstractmethod
    def write(self, key: str, content: bytes) -> None:
        """Put the object in place whole, or not at all, replacing a former one."""

    def remove_unfinished(self) -> int:
        """Remove what writers left that died while they wrote; their number. To be called with the lease."""
        return 0

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove the object, and the folders that are empty then; what is not there is removed already."""

    @abstractmethod
    def exists(self, key: str) -> bool:
        """Whether the object is there."""

    @abstractmethod
    def check_writable(self) -> None:
        """Raise InputError unless an object can be written now."""


def changed(uri: str) -> ChangedError:
    """The error for an object that is not what was listed."""
    return ChangedError(f"{uri} has changed since it was listed", "Run again: what did not change is kept.")
