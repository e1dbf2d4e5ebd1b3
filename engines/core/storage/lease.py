"""One run at a time writes into an output: the lease a run holds on it, with or without a Prefect server.

A folder is locked by the kernel (`flock`), which lets go the moment the process is gone, however it went; where the
file system has no locks, by a file that only one can make. An object store has no locks either, so there the lease is
an object that its holder renews; every change of it is conditional on the version that was read (S3's If-None-Match
and If-Match), so of two that want it one gets it. A holder that gives no sign of life for `LIFE_SECONDS` has lost it.
Only durations on one clock are compared, never the clocks of two machines.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from engines.core.errors import InputError, StageError, StorageError, TransientError
from engines.core.storage import open_storage
from engines.core.storage.folder import FolderStorage
from engines.core.storage.objects import ObjectStorage
from engines.core.storage.process_identity import has_ended, process_identity

LIFE_SECONDS = 60.0
RENEW_SECONDS = 15.0
_POLL_SECONDS = 3.0

About = dict[str, str | int]

_LOGGER = logging.getLogger("fruits.run")
"""Lines of the run itself, for whoever watches it."""

_FILE = ".lock"
_FILE_FOR_LOCK = ".writing"
_OBJECT = "lease.json"

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
"""What file systems answer that have no locks: some NFS, Lustre and FUSE."""


class Lease:
    """The right to write into an output. `check` before what must not happen without it."""

    def check(self) -> None:
        """Raise StageError when the lease was lost, because this process gave no sign of life for too long, or because
        the output is not there any more.
        """


@contextlib.contextmanager
def exclusive(output: str, holder: str) -> Iterator[Lease]:
    """Hold the lease on `output` within this context. `holder` is how a person calls this run.

    Raises InputError that names the other run when one is writing there. On an object store that takes up to
    RENEW_SECONDS to find out, and a crashed run is waited for LIFE_SECONDS, which is said. Whether a run of this
    machine is still there is known at once.
    """
    about: About = {
        "holder": holder,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
        "process": process_identity(),
    }
    storage = open_storage(output)
    if isinstance(storage, FolderStorage):
        with _locked_folder(storage.url, about):
            yield _FolderLease(storage.url)
    elif isinstance(storage, ObjectStorage):
        lease = _ObjectLease(storage, about)
        lease.acquire()
        try:
            yield lease
        finally:
            lease.release()
    else:
        raise TypeError(f"no lease is known for {type(storage).__name__}")


@contextlib.contextmanager
def _locked_folder(folder: str, about: About) -> Iterator[None]:
    path = os.path.join(folder, _FILE)
    os.makedirs(folder, exist_ok=True)
    while True:
        # Python's descriptors are not inherited by the programs it starts: no worker keeps the lock alive.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            content = os.read(descriptor, 4096)
            os.close(descriptor)
            raise _busy(folder, content) from None
        except OSError as error:
            os.close(descriptor)
            if error.errno not in _NO_LOCKS:
                raise
            with _file_for_lock(folder, about):
                yield
            return
        except BaseException:
            os.close(descriptor)
            raise
        if _is_same_file(descriptor, path):
            break
        os.close(descriptor)  # its former holder removed the file between our open and our lock
    try:
        with contextlib.suppress(OSError):  # a full disk: what it says is for people, the lock is held
            os.ftruncate(descriptor, 0)
            os.write(descriptor, json.dumps(about).encode())
        yield
    finally:
        with contextlib.suppress(OSError):  # the output was removed, or became read-only: the lock ends all the same
            os.unlink(path)
        os.close(descriptor)


@contextlib.contextmanager
def _file_for_lock(folder: str, about: About) -> Iterator[None]:
    """Where the file system has no locks, a file that only one can make. Nobody removes it for a run that was killed,
    but the next one on the same machine.
    """
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(folder, _FILE))  # the one that could not be locked
    path = os.path.join(folder, _FILE_FOR_LOCK)
    content = json.dumps(about).encode()
    while True:
        try:
            with open(path, "xb") as file:
                file.write(content)
            break
        except FileExistsError:
            _remove_if_ended(folder, path)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # as above
            os.unlink(path)


def _remove_if_ended(folder: str, path: str) -> None:
    """Remove the file of a run that is gone. Raises InputError for one that may still be there."""
    aside = f"{path}-{uuid.uuid4().hex}"
    try:
        with open(path, "rb") as file:
            content = file.read()
        ended = has_ended(str(_known(content).get("process", "")))
        if ended:
            os.rename(path, aside)
            with open(aside, "rb") as file:
                if file.read() != content:  # another run was quicker, and this is its file
                    os.rename(aside, path)
                    raise _busy(folder, content)
            os.unlink(aside)
            return
    except FileNotFoundError:
        return  # it has just gone
    busy = _busy(folder, content)
    hint = busy.hint if ended is False else f"{busy.hint} If it is gone, which cannot be seen from here, remove {path}."
    raise InputError(busy.message, hint)


def _is_same_file(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


class _FolderLease(Lease):
    """A lock on a folder, which is worth something as long as that folder is the output."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._status = os.stat(folder)

    def check(self) -> None:
        """See Lease."""
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(self._status, os.stat(self._folder)):
                return
        raise StageError(
            f"the output {self._folder} was removed while this run was writing into it", "Run again: it begins anew."
        )


class _ObjectLease(Lease):
    """A lease in an object store, renewed by a thread of its own."""

    def __init__(self, storage: ObjectStorage, about: About) -> None:
        self._storage = storage
        self._about: About = {**about, "token": uuid.uuid4().hex}
        self._version: str | None = None
        self._renewed_at = 0.0
        self._lost = False
        self._renewing = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    def acquire(self) -> None:
        """Take the lease, or raise InputError. See `exclusive`."""
        seen: str | None = None
        since = time.monotonic()
        while not self._put(None):
            found = self._storage.read_version(_OBJECT)
            if found is None:
                continue
            content, version = found
            if seen is not None and version != seen:
                raise _busy(self._storage.url, content)
            former = _known(content)
            free = former.get("released", False) or has_ended(str(former.get("process", "")))
            if free is False:
                raise _busy(self._storage.url, content)
            if seen is None:
                seen, since = version, time.monotonic()
                if not free:
                    _LOGGER.warning(
                        "%s was being written by %s: waiting up to %g s to see whether it still is",
                        self._storage.url,
                        _who(content),
                        LIFE_SECONDS,
                    )
            if (free or time.monotonic() - since >= LIFE_SECONDS) and self._put(version):
                break
            time.sleep(_POLL_SECONDS)
        self._thread.start()

    def release(self) -> None:
        """Let the next run have it at once."""
        self._stop.set()
        self._thread.join()
        if self._lost:
            return
        try:
            # Replaced, not removed: a removal cannot be made conditional, and could hit the lease of another.
            self._put(self._version, released=True)
        except (StorageError, TransientError) as error:
            # What the run has done is done, or its own error is raised.
            _LOGGER.warning(
                "the lease on %s cannot be let go (%s): the next run may wait %g s for it",
                self._storage.url,
                error.message,
                LIFE_SECONDS,
            )

    def check(self) -> None:
        """See Lease."""
        why = ""
        if not self._lost and time.monotonic() - self._renewed_at > LIFE_SECONDS:
            # The storage may have been out of reach that long. The lease is still ours if nobody took it since.
            try:
                self._renew_once()
            except TransientError as error:
                why = f" ({error.message})"
        if self._lost or time.monotonic() - self._renewed_at > LIFE_SECONDS:
            raise StageError(
                f"this run lost its lease on {self._storage.url}: it gave no sign of life for {LIFE_SECONDS:g} s{why}",
                "Another run may be writing there. Nothing was published; run again when it is done.",
            )

    def _put(self, former: str | None, *, released: bool = False) -> bool:
        began = time.monotonic()
        # Each content is new, so that each renewal shows as a new version.
        content = json.dumps({**self._about, "released": released, "renewal": uuid.uuid4().hex}).encode()
        version = self._storage.write_if(_OBJECT, content, former)
        if version is None:
            # The answer to an attempt that did succeed may have been lost on its way, and the attempt repeated.
            found = self._storage.read_version(_OBJECT)
            version = found[1] if found is not None and found[0] == content else None
        if version is not None:
            self._version, self._renewed_at = version, began
        return version is not None

    def _renew(self) -> None:
        while not self._stop.wait(RENEW_SECONDS):
            try:
                self._renew_once()
            except TransientError:
                continue  # the next attempt comes soon; `check` tells when it was too long
            if self._lost:
                return

    def _renew_once(self) -> None:
        with self._renewing:
            self._lost = not self._put(self._version)


def _busy(output: str, content: bytes) -> InputError:
    return InputError(
        f"another run is writing into {output}: {_who(content)}",
        "Wait until it is done, cancel it, or use another output.",
    )


def _who(content: bytes) -> str:
    about = _known(content)
    try:
        return f"{about['holder']} ({about['host']}, process {about['pid']}, since {about['since']})"
    except KeyError:
        return "a run that has just started"


def _known(content: bytes) -> dict[str, Any]:
    """What a lease says; nothing where it cannot be read."""
    try:
        about = json.loads(content)
    except ValueError:
        return {}
    return about if isinstance(about, dict) else {}
