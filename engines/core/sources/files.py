"""Files below a folder, or objects below a URL: a photo each, labelled by the folder it lies in."""

from __future__ import annotations

import glob
import os
import shlex
from collections.abc import Iterator

from engines.core.errors import GoneError, InputError, StorageError
from engines.core.rejects import RejectedImageError
from engines.core.sources.base import Entry, Source, folder_label
from engines.core.storage import DANGLING_LINK, SPECIAL_FILE, UNREADABLE, is_folder, key_of, open_storage

_OR = ", or archives: .tar (not compressed), .zip, .parquet"


class Files(Source):
    """A folder, or a URL such as `s3://bucket/prefix`."""

    @classmethod
    def accepts(cls, location: str) -> bool:  # noqa: ARG003 - whatever no other kind reads
        """See Source."""
        return True

    def check(self) -> None:
        """See Source."""
        if is_folder(self.location):
            if not os.path.isdir(self.location):
                what = "is neither a folder nor a known archive" if os.path.exists(self.location) else "does not exist"
                raise InputError(f"the source {self.location} {what}", f"Name the folder with the class folders{_OR}.")
            return
        try:
            next(open_storage(self.location).list(), None)
        except StorageError as error:
            raise InputError(f"the source cannot be listed: {error.message}", error.hint) from error

    def list(self) -> Iterator[Entry]:
        """See Source."""
        storage = open_storage(self.location)
        for item in storage.list(unreadable=True):
            yield Entry(storage.uri(item.key), folder_label(item.key), item.size, item.version)

    def check_entry(self, entry: Entry) -> None:
        """See Source."""
        try:
            entry.path.encode()
        except UnicodeEncodeError:
            shown = entry.path.encode(errors="surrogateescape")
            raise InputError(
                f"the file name {shown!r} is not Unicode (UTF-8)", "Rename the file, or leave it out with --exclude."
            ) from None
        key = self.key(entry.path)
        if entry.version.startswith(UNREADABLE):
            what = "listed" if key.endswith("/") else "read"
            raise InputError(
                f"{entry.path} cannot be {what}: {entry.version.removeprefix(UNREADABLE)}",
                f"Allow reading it, or leave it out: --exclude {shlex.quote(glob.escape(key.rstrip('/')))}.",
            )
        open_storage(self.location).check_key(key)

    def read(self, entry: Entry) -> bytes:
        """See Source."""
        if entry.version == DANGLING_LINK:
            raise RejectedImageError("dangling_link", "the symbolic link points to no file")
        if entry.version == SPECIAL_FILE:
            raise RejectedImageError("special_file", "a pipe, socket or device")
        try:
            content, version = open_storage(self.location).read_versioned(self.key(entry.path))
        except GoneError as error:
            raise RejectedImageError("missing", "it was there when the source was listed") from error
        if entry.version and (len(content), version) != (entry.size, entry.version):
            raise RejectedImageError(
                "changed", f"listed were {entry.size:,} bytes of {entry.version}, read {len(content):,} of {version}"
            )
        return content

    def key(self, path: str) -> str:
        """See Source."""
        return key_of(self.location, path)

    def nothing_there(self) -> InputError:
        """See Source."""
        if is_folder(self.location):
            return InputError(f"{self.location} has no files", f"Name the folder with the class folders{_OR}.")
        return InputError(f"nothing is stored below {self.location}", f"Check the bucket and the prefix{_OR}.")
