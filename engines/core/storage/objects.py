"""An object store as storage, through obstore: one GET per object, retries with backoff, atomic puts."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

from engines.core.errors import FruitsError, InputError, StorageError, TransientError
from engines.core.storage.aws import S3Access, s3_access
from engines.core.storage.base import Storage, StoredObject, changed, version_of
from engines.core.storage.locations import why_unreadable
from engines.core.storage.repetition import repeated, repeating
from engines.core.storage.s3_keys import list_bucket, read_object
from engines.core.storage.store_errors import AGAIN, first_line, translated, unreadable_name
from engines.core.storage.waiting import OpenStore, PatientStore

if TYPE_CHECKING:
    from obstore import ObjectMeta


class ObjectStorage(Storage):
    """A prefix of an object store, through obstore."""

    def __init__(self, url: str, open_store: OpenStore, s3: S3Access | None = None) -> None:
        self.url = url
        self._patient = PatientStore(open_store)
        self._store = self._patient.store
        self._s3 = s3

    def list(self, prefix: str = "", *, unreadable: bool = False) -> Iterator[StoredObject]:  # noqa: ARG002
        """See Storage. Permission is for all that is below, or for nothing."""
        if self._s3 is not None:
            return list_bucket(self._s3, prefix, self.uri(prefix) if prefix else self.url)
        return self._list(prefix)

    def _list(self, prefix: str) -> Iterator[StoredObject]:
        import obstore

        former: StoredObject | None = None
        with translated(self.uri(prefix) if prefix else self.url):
            for batch in obstore.list(self._store, prefix or None):
                for meta in batch:
                    item = StoredObject(meta["path"], meta["size"], _version(meta))
                    # Consoles make empty objects `folder/` in place of folders; obstore strips their slash.
                    if former and (former.size or not item.key.startswith(f"{former.key}/")):
                        yield former
                    former = item if item.key else None  # the location's own
        if former:
            yield former

    def check_key(self, key: str) -> None:
        """See Storage. What obstore cannot request, boto3 reads."""
        if self._s3 is None:
            self._check_requestable(key)

    def _check_requestable(self, key: str) -> None:
        if why := why_unreadable(key):
            raise unreadable_name(self.uri(key), why)

    def read(self, key: str) -> bytes:
        """See Storage."""
        return self.read_versioned(key)[0]

    @repeating
    def read_versioned(self, key: str) -> tuple[bytes, str]:
        """See Storage. An object is of one version from its first byte to its last."""
        if self._s3 is not None and why_unreadable(key):
            return read_object(self._s3, key, self.uri(key))
        self.check_key(key)
        with translated(self.uri(key)):
            content, meta = self._patient.get(key)
        return content, _version(meta)

    @repeating
    def stat(self, key: str) -> StoredObject | None:
        """See Storage."""
        import obstore

        self._check_requestable(key)
        with translated(self.uri(key)):
            try:
                meta = obstore.head(self._store, key)
            except FileNotFoundError:
                return None
        return StoredObject(key, meta["size"], _version(meta))

    @repeating
    def read_range(self, key: str, start: int, length: int, version: str = "") -> bytes:
        """See Storage."""
        from obstore.exceptions import PreconditionError

        self._check_requestable(key)
        options: Any = {"range": (start, start + length)}
        if version and ":" not in version:  # else it is a time, as of a store without ETags
            options["if_match"] = f'"{version}"'
        with translated(self.uri(key)):
            try:
                content, _ = self._patient.get(key, options)
            except PreconditionError:
                raise changed(self.uri(key)) from None
        if len(content) > length:  # obstore asked for more, as the answer's length was not true
            raise TransientError(f"{self.uri(key)}: the answer is longer than what was asked for", AGAIN)
        return content

    @repeating
    def open(self, key: str) -> IO[bytes]:
        """See Storage."""
        import obstore

        self._check_requestable(key)
        with translated(self.uri(key)):
            return io.BufferedReader(_RawReader(obstore.open_reader(self._store, key), self.uri(key)))

    @repeating
    def write(self, key: str, content: bytes) -> None:
        """See Storage."""
        with translated(self.uri(key)):
            self._patient.put(key, content)

    @repeating
    def write_if(self, key: str, content: bytes, version: str | None) -> str | None:
        """Put the object if it is still `version` (None: if there is none); its new version, or None if it is not."""
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        mode: Any = "create" if version is None else {"e_tag": version}
        with translated(self.uri(key)):
            try:
                return self._patient.put(key, content, mode)
            except (AlreadyExistsError, PreconditionError):
                return None
            except FileNotFoundError:
                if version is None:
                    raise  # no such bucket
                return None

    @repeating
    def read_version(self, key: str) -> tuple[bytes, str] | None:
        """The object and its version for `write_if`, or None if there is none."""
        with translated(self.uri(key)):
            try:
                content, meta = self._patient.get(key)
            except FileNotFoundError:
                return None
        return content, meta["e_tag"] or ""

    @repeating
    def delete(self, key: str) -> None:
        """See Storage. An object store has no folders."""
        import obstore

        with translated(self.uri(key)), contextlib.suppress(FileNotFoundError):
            obstore.delete(self._store, key)

    @repeating
    def exists(self, key: str) -> bool:
        """See Storage."""
        import obstore

        try:
            with translated(self.uri(key)):
                obstore.head(self._store, key)
        except StorageError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return False
            raise
        return True

    def check_writable(self) -> None:
        """See Storage. Leaves an empty object `.write-check`."""
        try:
            # First what names at once a fault that obstore would repeat as if it healed: a certificate, no permission.
            next(iter(self.list(".write-check")), None)
            self.write(".write-check", b"")
        except FruitsError as error:
            raise InputError(f"the output {self.url} cannot be written: {error.message}", error.hint) from error


def _version(meta: ObjectMeta) -> str:
    return version_of(meta["e_tag"], meta["last_modified"])


class _RawReader(io.RawIOBase):
    """obstore's reader behind the standard file interface, which pyarrow reads from."""

    def __init__(self, reader: Any, uri: str) -> None:
        self._reader = reader
        self._uri = uri

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._reader.seek(offset, whence))

    def tell(self) -> int:
        return int(self._reader.tell())

    def readinto(self, buffer: Any) -> int:
        at = self._reader.tell()

        def attempt() -> bytes:
            with translated(self._uri):
                self._reader.seek(at)
                return bytes(self._reader.read(len(buffer)))

        content = repeated(attempt)
        buffer[: len(content)] = content
        return len(content)


def open_object_storage(location: str) -> ObjectStorage:
    """The storage at a normalized URL. Raises InputError for one that cannot be used, and without credentials."""
    if location.startswith("s3://"):
        access = s3_access(location)
        return ObjectStorage(location, access.store, access)
    from obstore.store import from_url

    try:
        return ObjectStorage(
            location,
            lambda client, retry: from_url(location, client_options=client, retry_config=retry),
        )
    except Exception as error:
        # obstore raises its own types here; all of them mean that the URL is not usable.
        raise InputError(f"{location} cannot be opened: {first_line(error)}", "Use a folder or s3://.") from error
