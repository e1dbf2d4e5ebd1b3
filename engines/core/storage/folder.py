"""A local folder as storage, by the standard library: it takes any file name, lists in order without holding the whole
list, and lets a write be synced before it is renamed into place.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from engines.core.errors import GoneError, InputError, StorageError
from engines.core.scratch import scratch_folder
from engines.core.storage.base import DANGLING_LINK, SPECIAL_FILE, UNREADABLE, Storage, StoredObject, changed

_LEADS_NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_NO_PERMISSION = (errno.EACCES, errno.EPERM)


_UNFINISHED = ".unfinished-"


class FolderStorage(Storage):
    """A local folder."""

    def __init__(self, folder: str) -> None:
        self.url = folder

    def list(self, prefix: str = "", *, unreadable: bool = False) -> Iterator[StoredObject]:
        """See Storage."""
        folder = os.path.join(self.url, prefix) if prefix else self.url
        if not os.path.isdir(folder):
            return
        for item in _walk(folder, f"{prefix}/" if prefix else "", (os.path.realpath(folder),)):
            if isinstance(item, StoredObject):
                yield item
            elif unreadable and item.key and item.error.errno in _NO_PERMISSION:
                yield StoredObject(item.key, 0, f"{UNREADABLE}{item.error.strerror}")
            else:
                raise _from_os_error(item.error, self.uri(item.key).rstrip("/")) from item.error

    def read(self, key: str) -> bytes:
        """See Storage."""
        return self.read_versioned(key)[0]

    def read_versioned(self, key: str) -> tuple[bytes, str]:
        """See Storage."""
        try:
            with open(self.uri(key), "rb", opener=_without_waiting) as file:
                before = os.fstat(file.fileno())
                if not stat.S_ISREG(before.st_mode):
                    raise GoneError(f"{self.uri(key)} is no file any more", "Run again to list anew.")
                content = file.read()
                after = os.fstat(file.fileno())
        except OSError as error:
            raise _from_os_error(error, self.uri(key)) from error
        listed = _stored(key, after)
        still = _stored(key, before) == listed and len(content) == listed.size
        return content, listed.version if still else ""

    def stat(self, key: str) -> StoredObject | None:
        """See Storage."""
        try:
            status = os.stat(self.uri(key))
        except OSError as error:
            if error.errno in _LEADS_NOWHERE:
                return None
            raise _from_os_error(error, self.uri(key)) from error
        return _stored(key, status) if stat.S_ISREG(status.st_mode) else None

    def read_range(self, key: str, start: int, length: int, version: str = "") -> bytes:
        """See Storage."""
        try:
            with open(self.uri(key), "rb") as file:
                if version and _stored(key, os.fstat(file.fileno())).version != version:
                    raise changed(self.uri(key))
                file.seek(start)
                return file.read(length)
        except OSError as error:
            raise _from_os_error(error, self.uri(key)) from error

    def open(self, key: str) -> IO[bytes]:
        """See Storage."""
        try:
            return open(self.uri(key), "rb")
        except OSError as error:
            raise _from_os_error(error, self.uri(key)) from error

    def write(self, key: str, content: bytes) -> None:
        """See Storage."""
        path = self.uri(key)
        folder = os.path.dirname(path)
        try:
            os.makedirs(folder, exist_ok=True)
            # A dot in front hides an unfinished file (after a crash) from every reader of parquet folders.
            temporary = os.path.join(folder, f"{_UNFINISHED}{uuid.uuid4().hex}")
            try:
                _write_synced(temporary, content)
                os.replace(temporary, path)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary)
                raise
        except OSError as error:
            raise _from_os_error(error, path) from error

    def remove_unfinished(self) -> int:
        """See Storage. A write that is under way nevertheless fails, and is tried again by whoever still wants it."""
        removed = 0
        for folder, _, names in os.walk(self.url):
            for name in names:
                if name.startswith(_UNFINISHED):
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(os.path.join(folder, name))
                        removed += 1
        return removed

    def delete(self, key: str) -> None:
        """See Storage."""
        path = self.uri(key)
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        except OSError as error:
            raise _from_os_error(error, path) from error
        while (path := os.path.dirname(path)) != self.url and path.startswith(self.url):
            try:
                os.rmdir(path)
            except OSError:
                return  # there is more in it, or it is gone

    def exists(self, key: str) -> bool:
        """See Storage."""
        return os.path.isfile(self.uri(key))

    def check_writable(self) -> None:
        """See Storage. Tried where the folder is, or would be made; nothing is left there."""
        existing = self.url
        while not os.path.lexists(existing):
            existing = os.path.dirname(existing)
        what = ""
        try:
            with scratch_folder(".write-check-", existing) as folder:
                first, second = os.path.join(folder, "1"), os.path.join(folder, "2")
                for path in (first, second):
                    _write_synced(path, b"")
                what = "files there cannot be replaced: "
                os.replace(first, second)
        except OSError as error:
            raise InputError(
                f"the output {self.url} cannot be written: {what}{error.strerror or error}",
                "Use a folder on a disk, or the object store's own URL (s3://)." if what else f"Check {existing}.",
            ) from error


@dataclass(frozen=True, slots=True)
class _Failed:
    """What of a folder could not be listed."""

    key: str
    error: OSError


def _walk(folder: str, prefix: str, ancestors: tuple[str, ...]) -> Iterator[StoredObject | _Failed]:
    """Files below `folder` in the order S3 would list them, links followed, a link to an ancestor once only."""
    try:
        with os.scandir(folder) as scan:
            # The slash behind a folder's name makes this the order of whole keys.
            entries = sorted((f"{entry.name}/" if _leads_to_folder(entry) else entry.name, entry) for entry in scan)
    except OSError as error:
        yield _Failed(prefix, error)
        return
    for name, entry in entries:
        if name.endswith("/"):
            real = os.path.realpath(entry.path) if entry.is_symlink() else os.path.join(ancestors[-1], entry.name)
            if real not in ancestors:
                yield from _walk(entry.path, prefix + name, (*ancestors, real))
            continue
        try:
            status = entry.stat()
        except OSError as error:
            if error.errno not in _LEADS_NOWHERE:
                yield _Failed(prefix + name, error)
            elif entry.is_symlink():
                yield StoredObject(prefix + name, 0, DANGLING_LINK)
            continue  # or it was removed while the folder was being listed
        if stat.S_ISREG(status.st_mode):
            yield _stored(prefix + name, status)
        else:
            yield StoredObject(prefix + name, 0, SPECIAL_FILE)


def _stored(key: str, status: os.stat_result) -> StoredObject:
    return StoredObject(key, status.st_size, str(status.st_mtime_ns))


def _without_waiting(path: str, flags: int) -> int:
    """Opens what may have become a pipe since it was listed; for files the flag means nothing."""
    return os.open(path, flags | os.O_NONBLOCK)


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno in (errno.ELOOP, *_NO_PERMISSION):  # a link that comes back to itself, or into what is closed
            return False
        raise


def _write_synced(path: str, content: bytes) -> None:
    with open(path, "xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _from_os_error(error: OSError, path: str) -> StorageError:
    hints = {
        errno.ENOENT: "It may have been removed since it was listed; run again to list anew.",
        errno.EACCES: "Check who may read and write it.",
        errno.ENOSPC: "Make room; what was done is kept.",
    }
    kind = GoneError if error.errno in _LEADS_NOWHERE else StorageError
    return kind(f"{path}: {error.strerror or error}", hints.get(error.errno or 0, ""))
