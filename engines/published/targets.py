"""Local files and folders that appear when they are whole, or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import IO

from engines.core.errors import InputError
from engines.core.storage import is_folder, normalize_location


@contextlib.contextmanager
def new_file(name: str) -> Iterator[IO[bytes]]:
    """A file to write into, which replaces `name` in the end. Raises InputError where it cannot be made."""
    location = _local(name)
    with _explained(location):
        number, unfinished = tempfile.mkstemp(dir=os.path.dirname(location), prefix=".unfinished-")
    try:
        with os.fdopen(number, "wb") as file:
            yield file
        os.chmod(unfinished, 0o666 & ~_umask())
        with _explained(location):
            os.replace(unfinished, location)
    except BaseException:
        os.unlink(unfinished)
        raise


@contextlib.contextmanager
def new_folder(name: str) -> Iterator[str]:
    """A folder to write into, which becomes `name` in the end. Raises InputError unless `name` is new or empty."""
    location = _local(name)
    if os.path.isfile(location) or (os.path.isdir(location) and os.listdir(location)):
        raise InputError(f"{location} is not empty", "Choose a new folder.")
    with _explained(location):
        os.makedirs(os.path.dirname(location), exist_ok=True)
        unfinished = tempfile.mkdtemp(dir=os.path.dirname(location), prefix=".unfinished-")
    try:
        yield unfinished
        os.chmod(unfinished, 0o777 & ~_umask())
        with _explained(location):
            os.replace(unfinished, location)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _local(name: str) -> str:
    location = normalize_location(name)
    if not is_folder(location):
        raise InputError(f"{location} is not on this machine", "Name a local place, and copy it from there.")
    return location


@contextlib.contextmanager
def _explained(location: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{location} cannot be written: {error.strerror}", "Choose another place.") from error


def _umask() -> int:
    """What new files of this process are denied; temporary ones are denied more."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
