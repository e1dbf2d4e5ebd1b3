"""An object store as storage, through obstore: one GET per object, retries with backoff, atomic puts."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import IO, TYPE_CHECKING, Any

from engines.core.errors import FruitsError, InputError, StorageError, TransientError
from engines.core.storage.base import Storage, StoredObject

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_DENIED = re.compile(r"status code: 40[13]")
_REFUSED = re.compile(r"status code: 4(?!08|29)\d\d")
"""HTTP answers that another attempt does not change: 4xx, but for 408 (time-out) and 429 (too many requests)."""


class ObjectStorage(Storage):
    """A prefix of an object store, through obstore."""

    def __init__(self, url: str, store: ObjectStore) -> None:
        self.url = url
        self._store = store

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """See Storage."""
        import obstore

        former: StoredObject | None = None
        with _translated(self.uri(prefix) if prefix else self.url):
            for batch in obstore.list(self._store, prefix or None):
                for meta in batch:
                    version = meta["e_tag"] or meta["last_modified"].isoformat()
                    item = StoredObject(meta["path"], meta["size"], version.strip('"'))
                    # Consoles make empty objects `folder/` in place of folders; obstore strips their slash.
                    if former and (former.size or not item.key.startswith(f"{former.key}/")):
                        yield former
                    former = item if item.key else None  # the location's own
        if former:
            yield former

    def read(self, key: str) -> bytes:
        """See Storage."""
        import obstore

        with _translated(self.uri(key)):
            return bytes(obstore.get(self._store, key).bytes())

    def open(self, key: str) -> IO[bytes]:
        """See Storage."""
        import obstore

        with _translated(self.uri(key)):
            return io.BufferedReader(_RawReader(obstore.open_reader(self._store, key), self.uri(key)))

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

    def check_writable(self) -> None:
        """See Storage. Leaves an empty object `.write-check`."""
        try:
            self.write(".write-check", b"")
        except FruitsError as error:
            raise InputError(f"the output {self.url} cannot be written: {error.message}", error.hint) from error


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
        with _translated(self._uri):
            content = bytes(self._reader.read(len(buffer)))
        buffer[: len(content)] = content
        return len(content)


def open_object_storage(location: str) -> ObjectStorage:
    """The storage at a normalized URL. Raises InputError for one that cannot be used, and without credentials."""
    if location.startswith("s3://"):
        return ObjectStorage(location, _s3_store(location))
    from obstore.store import from_url

    try:
        return ObjectStorage(location, from_url(location))
    except Exception as error:
        # obstore raises its own types here; all of them mean that the URL is not usable.
        raise InputError(f"{location} cannot be opened: {_reason(error)}", "Use a folder or s3://.") from error


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
    except (exceptions.BaseError, FileNotFoundError) as error:
        text, reason = str(error), _reason(error)
        if "<Code>NoSuchBucket" in text:
            raise StorageError(f"the bucket of {uri} does not exist", "Check its name and region.") from error
        if isinstance(error, FileNotFoundError):
            raise StorageError(f"{uri} does not exist", "It may have been removed since it was listed.") from error
        if _DENIED.search(text):
            hint = "Check the credentials and the bucket's policy."
            raise StorageError(f"access to {uri} was denied", hint) from error
        if isinstance(error, exceptions.InvalidPathError):
            hint = "Give the object another name: no empty, `.` or `..` part, no control character."
            raise InputError(f"{uri}: {reason}", hint) from error
        if "redirect without LOCATION" in text:
            raise StorageError(f"the bucket of {uri} is in another region", "Set AWS_REGION to it.") from error
        if _REFUSED.search(text) and "<Code>RequestTimeout" not in text:
            raise StorageError(f"{uri}: {reason}", "Check the credentials, the region and the location.") from error
        raise TransientError(f"{uri}: {reason}", "Run again: what was done is kept.") from error


def _reason(error: BaseException) -> str:
    """What the service said, or else the first line of what obstore says."""
    said = re.search(r"<Code>(.*?)</Code>.*?<Message>(.*?)</Message>", str(error))
    if said:
        return f"{said[1]}: {said[2]}"
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
