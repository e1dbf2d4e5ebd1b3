"""Folders for the time being: gone with the process that made them, and if that was killed, with the next one.

A folder is held by a lock of the kernel, which lets go the moment its process is gone, however it went. What is not
held by anybody was left behind, and is removed before another one is made beside it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator

_LOCK = ".held"
_SUFFIX = "[a-z0-9_]{8}"
"""How `tempfile` ends a name."""

PROCESSES = "fruits-scratch-"
"""What the names of folders begin with that engines make in TMPDIR, for the files of the processes they start."""


@contextlib.contextmanager
def scratch_folder(prefix: str, parent: str) -> Iterator[str]:
    """A new folder in `parent` for this user alone, its name begins with `prefix`; removed at the end of the context.

    Removes those of the same prefix that processes left which were killed. Where the file system has no locks they
    stay, because nobody can tell.
    """
    remove_left_behind(prefix, parent)
    folder, descriptor = _make(prefix, parent)
    try:
        yield folder
    finally:
        # Workers that are about to end may still write.
        shutil.rmtree(folder, ignore_errors=True)
        if descriptor is not None:
            os.close(descriptor)


def remove_left_behind(prefix: str, parent: str) -> None:
    """Remove the scratch folders of this user in `parent`, their names beginning with `prefix`, that nobody holds."""
    names: list[str] = []
    with contextlib.suppress(PermissionError):  # a folder to write into that cannot be listed
        names = os.listdir(parent)
    for name in names:
        if re.fullmatch(re.escape(prefix) + _SUFFIX, name):
            # It may have gone by now, or be another user's, or the file system has no locks.
            with contextlib.suppress(OSError):
                _remove_unless_held(os.path.join(parent, name))


def _make(prefix: str, parent: str) -> tuple[str, int | None]:
    """A folder, and the descriptor that holds it; None where the file system has no locks."""
    while True:
        folder = tempfile.mkdtemp(prefix=prefix, dir=parent)
        try:
            descriptor = _locked(folder)
        except (BlockingIOError, FileNotFoundError):
            continue  # who removes what is left was quicker than this lock
        except OSError:
            return folder, None
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(os.path.join(folder, _LOCK))):
                return folder, descriptor
        os.close(descriptor)


def _remove_unless_held(folder: str) -> None:
    status = os.lstat(folder)
    # In a folder that all users share, a name proves nothing.
    if (
        not stat.S_ISDIR(status.st_mode)
        or status.st_uid != os.geteuid()
        or stat.S_IMODE(status.st_mode) != stat.S_IRWXU
    ):
        return
    descriptor = _locked(folder)
    try:
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)


def _locked(folder: str) -> int:
    """Raises BlockingIOError when somebody holds the folder, other OSErrors where there are no locks."""
    descriptor = os.open(os.path.join(folder, _LOCK), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
