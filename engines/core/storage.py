"""Reading, writing and listing objects below one folder or one URL prefix.

Folders are served by the standard library: it takes any file name, lists in order without holding the whole list, and
lets a write be synced before it is renamed into place. Everything else (`s3://` and what else obstore supports) is
served by obstore: one GET per object, retries with backoff, atomic puts.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import IO, TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlsplit

from engines.core.errors import FruitsError, InputError, StorageError, TransientError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

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


class FolderStorage(Storage):
    """A local folder."""

    def __init__(self, folder: str) -> None:
        self.url = folder

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """See Storage."""
        folder = os.path.join(self.url, prefix) if prefix else self.url
        if os.path.isdir(folder):
            yield from _walk(folder, f"{prefix}/" if prefix else "", (os.path.realpath(folder),))

    def read(self, key: str) -> bytes:
        """See Storage."""
        with self.open(key) as file:
            return file.read()

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
            temporary = os.path.join(folder, f".unfinished-{uuid.uuid4().hex}")
            try:
                with open(temporary, "xb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, path)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary)
                raise
        except OSError as error:
            raise _from_os_error(error, path) from error

    def exists(self, key: str) -> bool:
        """See Storage."""
        return os.path.isfile(self.uri(key))


class ObjectStorage(Storage):
    """A prefix of an object store, through obstore."""

    def __init__(self, url: str, store: ObjectStore) -> None:
        self.url = url
        self._store = store

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """See Storage."""
        import obstore

        with _translated(self.uri(prefix)):
            for batch in obstore.list(self._store, prefix or None):
                for meta in batch:
                    # S3 has no folders, but consoles make empty objects named like one.
                    if meta["size"] or not meta["path"].endswith("/"):
                        version = meta["e_tag"] or meta["last_modified"].isoformat()
                        yield StoredObject(meta["path"], meta["size"], version.strip('"'))

    def read(self, key: str) -> bytes:
        """See Storage."""
        import obstore

        with _translated(self.uri(key)):
            return bytes(obstore.get(self._store, key).bytes())

    def open(self, key: str) -> IO[bytes]:
        """See Storage."""
        import obstore

        with _translated(self.uri(key)):
            return io.BufferedReader(_RawReader(obstore.open_reader(self._store, key)))

    def write(self, key: str, content: bytes) -> None:
        """See Storage."""
        import obstore

        with _translated(self.uri(key)):
            obstore.put(self._store, key, content, use_multipart=False)

    def write_if(self, key: str, content: bytes, version: str | None) -> str | None:
        """Put the object if it is still `version` (None: if there is none); its new version, or None if it is not."""
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        mode: Any = "create" if version is None else {"e_tag": version}
        with _translated(self.uri(key)):
            try:
                return obstore.put(self._store, key, content, mode=mode, use_multipart=False)["e_tag"]
            except (AlreadyExistsError, PreconditionError):
                return None
            except FileNotFoundError:
                if version is None:
                    raise  # no such bucket
                return None

    def read_version(self, key: str) -> tuple[bytes, str] | None:
        """The object and its version for `write_if`, or None if there is none."""
        import obstore

        with _translated(self.uri(key)):
            try:
                got = obstore.get(self._store, key)
            except FileNotFoundError:
                return None
            return bytes(got.bytes()), got.meta["e_tag"] or ""

    def exists(self, key: str) -> bool:
        """See Storage."""
        import obstore

        try:
            with _translated(self.uri(key)):
                obstore.head(self._store, key)
        except StorageError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return False
            raise
        return True


class _RawReader(io.RawIOBase):
    """obstore's reader behind the standard file interface, which pyarrow reads from."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._reader.seek(offset, whence))

    def tell(self) -> int:
        return int(self._reader.tell())

    def readinto(self, buffer: Any) -> int:
        content = bytes(self._reader.read(len(buffer)))
        buffer[: len(content)] = content
        return len(content)


def normalize_location(location: str) -> str:
    """The one spelling of a location: an absolute folder without trailing slash, or `scheme://host/prefix`.

    Symbolic links are left as the caller wrote them. Raises InputError for an empty location or one of no known form.
    """
    if not location:
        raise InputError("an empty location was given", "Name a folder or a URL such as s3://bucket/prefix.")
    if location.startswith("file://"):
        parts = urlsplit(location)
        if parts.netloc not in ("", "localhost"):
            raise InputError(f"{location} names another machine: {parts.netloc}", "Write file:///absolute/folder.")
        return os.path.abspath(unquote(parts.path))
    if "://" in location:
        scheme, rest = location.split("://", 1)
        if scheme in ("s3a", "s3n"):
            scheme = "s3"
        if not rest.strip("/"):
            raise InputError(f"{location} names no bucket", "Write s3://bucket or s3://bucket/prefix.")
        return f"{scheme}://{rest.rstrip('/')}"
    return os.path.abspath(os.path.expanduser(location))


def is_folder(location: str) -> bool:
    """Whether a normalized location is a local folder (as opposed to a URL)."""
    return "://" not in location


@functools.lru_cache(maxsize=64)
def open_storage(location: str) -> Storage:
    """The storage at `location` (see `normalize_location`); one per process, so that connections are reused."""
    location = normalize_location(location)
    if is_folder(location):
        return FolderStorage(location)
    if location.startswith("s3://"):
        return ObjectStorage(location, _s3_store(location))
    from obstore.store import from_url

    try:
        return ObjectStorage(location, from_url(location))
    except Exception as error:
        # obstore raises its own types here; all of them mean that the URL is not usable.
        raise InputError(f"{location} cannot be opened: {_first_line(error)}", "Use a folder or s3://.") from error


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


def check_writable(location: str) -> None:
    """Raise InputError unless an object can be written below `location` now."""
    storage = open_storage(location)
    if isinstance(storage, FolderStorage):
        existing = storage.url
        while not os.path.lexists(existing):
            existing = os.path.dirname(existing)
        if not os.path.isdir(existing) or not os.access(existing, os.W_OK | os.X_OK):
            raise InputError(f"the output {storage.url} cannot be written", f"Check the permissions of {existing}.")
        return
    try:
        storage.write(".write-check", b"")
    except FruitsError as error:
        raise InputError(f"the output {location} cannot be written: {error.message}", error.hint) from error


def _walk(folder: str, prefix: str, ancestors: tuple[str, ...]) -> Iterator[StoredObject]:
    """Files below `folder` in the order S3 would list them, links followed, a link to an ancestor once only."""
    try:
        with os.scandir(folder) as scan:
            # The slash behind a folder's name makes this the order of whole keys.
            entries = sorted((f"{entry.name}/" if entry.is_dir() else entry.name, entry) for entry in scan)
    except OSError as error:
        raise _from_os_error(error, folder) from error
    for name, entry in entries:
        if name.endswith("/"):
            real = os.path.realpath(entry.path) if entry.is_symlink() else os.path.join(ancestors[-1], entry.name)
            if real not in ancestors:
                yield from _walk(entry.path, prefix + name, (*ancestors, real))
            continue
        try:
            status = entry.stat()
        except FileNotFoundError:
            if entry.is_symlink():
                yield StoredObject(prefix + name, 0, DANGLING_LINK)
            continue  # removed while the folder was being listed
        except OSError as error:
            raise _from_os_error(error, entry.path) from error
        yield StoredObject(prefix + name, status.st_size, str(status.st_mtime_ns))


def _s3_store(location: str) -> ObjectStore:
    from obstore.store import S3Store

    bucket, _, prefix = location.removeprefix("s3://").partition("/")
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    options: dict[str, Any] = {"client_options": {"timeout": "60 seconds"}}
    if endpoint:
        options["endpoint"] = endpoint
        options["client_options"]["allow_http"] = endpoint.startswith("http://")
    try:
        import boto3  # the aws extra; without it obstore reads the AWS variables and the machine's role itself
    except ImportError:
        pass
    else:
        from obstore.auth.boto3 import Boto3CredentialProvider

        session = boto3.Session()
        options["region"] = session.region_name or "us-east-1"
        if session.get_credentials() is None:
            raise InputError(
                f"no AWS credentials were found for {location}",
                "Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run `aws sso login`.",
            )
        options["credential_provider"] = Boto3CredentialProvider(session)
    return S3Store(
        bucket,
        prefix=prefix or None,
        retry_config={
            "max_retries": 8,
            "retry_timeout": timedelta(seconds=120),
            "backoff": {
                "init_backoff": timedelta(milliseconds=100),
                "max_backoff": timedelta(seconds=10),
                "base": 2,
            },
        },
        **options,
    )


@contextlib.contextmanager
def _translated(uri: str) -> Iterator[None]:
    """Errors of obstore as ours: what heals is TransientError, what does not is StorageError."""
    from obstore import exceptions

    try:
        yield
    except FileNotFoundError as error:
        raise StorageError(f"{uri} does not exist", "It may have been removed since it was listed.") from error
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
        raise StorageError(f"access to {uri} was denied", "Check the credentials and the bucket's policy.") from error
    except exceptions.BaseError as error:
        detail = _first_line(error)
        if "NoSuchBucket" in str(error):
            raise StorageError(f"the bucket of {uri} does not exist", "Check its name and region.") from error
        if "301" in detail or "PermanentRedirect" in str(error):
            raise StorageError(f"the bucket of {uri} is in another region", "Set AWS_REGION to it.") from error
        raise TransientError(f"{uri}: {detail}", "Run again: what was done is kept.") from error


def _from_os_error(error: OSError, path: str) -> FruitsError:
    hints = {
        FileNotFoundError: "It may have been removed since it was listed; run again to list anew.",
        PermissionError: "Check who may read and write it.",
    }
    return StorageError(f"{path}: {error.strerror or error}", hints.get(type(error), ""))


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
