"""What archives have in common: how they are named, which members are photos of which name, and what is never unpacked.

A location names one archive, or several of one folder: `photos-{0000..0099}.tar` are a hundred, each of which must be
there; `train-*.parquet` are those that match. The path of a photo is that of its archive, a slash, and the name it has
within. Nothing is unpacked to a disk.
"""

from __future__ import annotations

import fnmatch
import logging
import os
import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from engines.core.errors import FruitsError, InputError
from engines.core.rejects import RejectedImageError
from engines.core.sources.base import Entry, Source
from engines.core.storage import Storage, StoredObject, is_folder, key_of, open_storage, read_ahead

_LOGGER = logging.getLogger("fruits.sources")

_ARCHIVES_AHEAD = 8
"""Archives whose members are listed at once."""

_NUMBERS = re.compile(r"\{(\d+)\.\.(\d+)\}")

UNSAFE_NAME = "unsafe-name"
DANGLING_MEMBER = "dangling-member"
BOMB = "bomb"
SPARSE = "sparse"
ENCRYPTED = "encrypted"
_NEVER_READ = {
    UNSAFE_NAME: ("unsafe_name", "the name leads out of the archive"),
    DANGLING_MEMBER: ("dangling_link", "the link points to no file of the archive"),
    BOMB: ("archive_bomb", "it would unpack to far more than it takes"),
    SPARSE: ("unreadable_member", "it is stored as a sparse file"),
    ENCRYPTED: ("unreadable_member", "it is encrypted"),
}
"""Versions of members that are listed, so that they are counted, but never read; and why."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive: its name within, and the fields of its Entry."""

    name: str
    size: int
    version: str
    label: str = ""
    columns: Mapping[str, Any] = field(default_factory=dict)
    offset: int = -1


class Archives(Source):
    """One archive, or several in one folder, of the kind that `suffix` names."""

    suffix: ClassVar[str]

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self.folder, _, self.pattern = location.rpartition("/")
        self.folder = self.folder or "/"
        # A name that is there is no pattern.
        self.single = not re.search(r"[*?\[]|\{\d+\.\.\d+\}", self.pattern) or os.path.exists(location)

    @classmethod
    def accepts(cls, location: str) -> bool:
        """See Source. A folder may have any name."""
        inside = location.partition("://")[2] or location
        return "/" in inside and location.lower().endswith(cls.suffix) and not os.path.isdir(location)

    @property
    def storage(self) -> Storage:
        """The folder of the archives."""
        return open_storage(self.folder)

    @property
    def remote(self) -> bool:
        """Whether a read is a request to another machine."""
        return not is_folder(self.folder)

    def check(self) -> None:
        """See Source."""
        self.archives()

    def archives(self) -> list[StoredObject]:
        """The archives, in the order of their keys. Raises InputError unless all that are named are there."""
        try:
            found = self._named() if self.single or _NUMBERS.search(self.pattern) else self._matching()
        except FruitsError as error:
            raise InputError(f"the source {self.location} cannot be listed: {error.message}", error.hint) from error
        # The slash makes this the order of the members' keys.
        return sorted(found, key=lambda item: f"{item.key}/")

    def _named(self) -> list[StoredObject]:
        names = [self.pattern] if self.single else sorted(set(expand(self.pattern)))
        found: dict[str, StoredObject] = {}
        for name, item in zip(names, read_ahead(self.storage.stat, names, window=16), strict=True):
            if isinstance(item, FruitsError):
                raise item
            if item is not None:
                found[name] = item
        missing = [name for name in names if name not in found]
        if missing:
            more = f", and {len(missing) - 1:,} more of {len(names):,}" if len(missing) > 1 else ""
            raise InputError(f"{self.storage.uri(missing[0])} does not exist{more}", "Check the name of the archive.")
        return list(found.values())

    def _matching(self) -> list[StoredObject]:
        found = [item for item in self.storage.list() if fnmatch.fnmatchcase(item.key, self.pattern)]
        found = [item for item in found if "/" not in item.key]
        if not found:
            raise InputError(f"no archive in {self.folder} matches {self.pattern}", "Check the folder and the pattern.")
        return found

    def list(self) -> Iterator[Entry]:
        """See Source. Memory: the entries of some archives."""
        for found in read_ahead(self._entries, self.archives(), _ARCHIVES_AHEAD):
            if isinstance(found, FruitsError):
                raise found
            yield from found

    def _entries(self, archive: StoredObject) -> Sequence[Entry]:
        """The entries of an archive in the order of their keys; of two members of one name the later, as unpacked."""
        by_name: dict[str, Member] = {}
        replaced = 0
        for member in self.members(archive):
            name = self.safe_name(member.name)
            shown = replace(member, name=name or _escaped(member.name))
            replaced += shown.name in by_name
            by_name[shown.name] = shown if name else replace(shown, version=UNSAFE_NAME)
        if replaced:
            uri = self.storage.uri(archive.key)
            _LOGGER.warning("%s: %s members are replaced by later ones of the same name", uri, f"{replaced:,}")
        return [
            Entry(
                self.storage.uri(f"{archive.key}/{member.name}"),
                member.label,
                member.size,
                member.version,
                columns=member.columns,
                offset=member.offset,
            )
            for _, member in sorted(by_name.items())
        ]

    @abstractmethod
    def members(self, archive: StoredObject) -> Iterable[Member]:
        """The files of an archive that may be photos, in any order. Raises InputError for a damaged archive."""

    @abstractmethod
    def read_member(self, archive: str, name: str, entry: Entry) -> bytes:
        """The bytes of a member, as Source.read. `archive` is the key of its archive."""

    def check_entry(self, entry: Entry) -> None:
        """See Source. Members are found by their place: any name can be read."""

    def read(self, entry: Entry) -> bytes:
        """See Source."""
        if entry.version in _NEVER_READ:
            raise RejectedImageError(*_NEVER_READ[entry.version])
        archive, _, name = key_of(self.folder, entry.path).partition("/")
        return self.read_member(archive, name, entry)

    def key(self, path: str) -> str:
        """See Source: the name of the member, behind that of its archive where there are several."""
        key = key_of(self.folder, path)
        return key.partition("/")[2] if self.single else key

    def nothing_there(self) -> InputError:
        """See Source."""
        return InputError(f"{self.location} has no files", "Name archives that hold photos.")

    def damaged(self, archive: str, why: object) -> InputError:
        """The error for an archive whose members cannot be listed: how many photos are missing is not known."""
        return InputError(
            f"{self.storage.uri(archive)} is damaged or ends early: {why}",
            "Copy or make it again; the other archives can be named without it.",
        )

    @staticmethod
    def safe_name(name: str) -> str:
        """The name without `.` and empty parts; "" for one that leads out of the archive."""
        parts = [part for part in name.split("/") if part not in ("", ".")]
        return "" if name.startswith("/") or ".." in parts or "\0" in name else "/".join(parts)


def expand(pattern: str) -> list[str]:
    """The names that a pattern with `{0000..0099}` stands for; the width of the first number is that of all."""
    match = _NUMBERS.search(pattern)
    if match is None:
        return [pattern]
    first, last = match[1], match[2]
    if int(last) < int(first):
        raise InputError(f"{pattern} counts backwards", f"Write {{{last}..{first}}}.")
    head, tails = pattern[: match.start()], expand(pattern[match.end() :])
    return [f"{head}{number:0{len(first)}d}{tail}" for number in range(int(first), int(last) + 1) for tail in tails]


def _escaped(name: str) -> str:
    """A name that leads out of the archive, as one that leads nowhere: no reader of `path` follows it."""
    parts = ["%2E%2E" if part == ".." else part for part in name.replace("\0", "%00").split("/")]
    return "/".join(part or "%2F" for part in parts)


def folder_of(name: str) -> str:
    """The folder a member lies in; "" for one at the top."""
    return name.rpartition("/")[0].rpartition("/")[2]


def unicode_name(name: str) -> str:
    """A name as text: bytes that are not UTF-8 are taken for Latin-1, which knows all."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return name.encode("utf-8", "surrogateescape").decode("latin-1")
    return name
