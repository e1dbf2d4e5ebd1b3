"""The user's own folder on machines where it is unknown or closed: containers, jobs, services."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from pathlib import Path

from engines.core.errors import InputError


def give_home() -> None:
    """Where HOME is not set and the system does not know this user, set it for this process and all it starts.

    Many libraries look for it, and end with a traceback. Says so on standard error.
    """
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = str(temporary_folder())
        sys.stderr.write(f"note: HOME is not set, and this user has none: {os.environ['HOME']} is used\n")


def temporary_folder() -> Path:
    """A temporary folder of this user alone, the same for each process. Raises InputError when there can be none."""
    try:
        folder = Path(tempfile.gettempdir(), f"fruit-features-{os.getuid()}")
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
            # Somebody else may put models there, which this process would run.
            folder = Path(tempfile.mkdtemp(prefix="fruit-features-"))
    except OSError as error:
        raise InputError(
            f"this user has neither a home folder nor a temporary one ({error.strerror or error})",
            "Set HOME, or FRUITS_CACHE and TMPDIR, to folders that can be written.",
        ) from error
    return folder


def why_not_writable(folder: Path) -> str:
    """Why files cannot be made in `folder`, which is made if it is not there; empty if they can."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return f"{error.strerror or error}: {error.filename or folder}"
