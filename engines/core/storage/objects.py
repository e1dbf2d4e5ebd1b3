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

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ObjectStore


class ObjectStorage(Storage):
    """A prefix of an object store, through obstore."""

    def __init__(self, url: str, store: ObjectStore, s3: S3Access | None = None) -> None:
        self.url = url
        self._store = store
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
        import obstore

        if self._s3 is not None and why_unreadable(key):
            return read_object(self._s3, key, self.uri(key))
        self.check_key(key)
        with translated(self.uri(key)):
            got = obstore.get(self._store, key)
            return bytes(got.bytes()), _version(got.meta)

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
        import obstore
        from obstore.exceptions import PreconditionError

        self._check_requestable(key)
        options: Any = {"range": (start, start + length)}
        if version and ":" not in version:  # else it is a time, as of a store without ETags
            options["if_match"] = f'"{version}"'
        with translated(self.uri(key)):
            try:
                content = bytes(obstore.get(self._store, key, options=options).bytes())
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
        import obstore

        with translated(self.uri(key)):
            obstore.put(self._store, key, content, use_multipart=False)

    @repeating
    def write_if(self, key: str, content: bytes, version: str | None) -> str | None:
        """Put the object if it is still `version` (None: if there is none); its new version, or None if it is not."""
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        mode: Any = "create" if version is None else {"e_tag": version}
        with translated(self.uri(key)):
            try:
                return obstore.put(self._store, key, content, mode=mode, use_multipart=False)["e_tag"]
            except (AlreadyExistsError, PreconditionError):
                return None
            except FileNotFoundError:
                if version is None:
                    raise  # no such bucket
                return None

    @repeating
    def read_version(self, key: str) -> tuple[bytes, str] | None:
        """The object and its version for `write_if`, or None if there is none."""
        import obstore

        with translated(self.uri(key)):
            try:
                got = obstore.get(self._store, key)
            except FileNotFoundError:
                return None
            return bytes(got.bytes()), got.meta["e_tag"] or ""

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
        return ObjectStorage(location, access.store(), access)
    from obstore.store import from_url

    try:
        return ObjectStorage(location, from_url(location))
    except Exception as error:
        # obstore raises its own types here; all of them mean that the URL is not usable.
        raise InputError(f"{location} cannot be opened: {first_line(error)}", "Use a folder or s3://.") from error
