"""Photos in zip archives: found by the archive's directory, read by ranges, checked by their CRC.

The version of a photo is its CRC: an archive that is made again with some photos more costs these photos only.
"""

from __future__ import annotations

import functools
import lzma
import posixpath
import stat
import threading
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from engines.core.errors import StorageError
from engines.core.rejects import RejectedImageError
from engines.core.sources.archives import BOMB, DANGLING_MEMBER, ENCRYPTED, Archives, Member, folder_of, unicode_name
from engines.core.sources.base import Entry
from engines.core.sources.ranges import RangeFile, Ranges
from engines.core.storage import StoredObject
from engines.core.storage.base import changed

_MOST_RATIO = 100
_BOMB_BYTES = 2**24
"""A member of more bytes than this that was compressed by more than this ratio is no photo: photos are compressed
already, and bitmaps of one colour are small or seldom. (Deflate reaches 1,032.)"""

_HEADER = 30 + 1024
"""The fixed part of a local header, and room for extra fields that the directory does not have."""

_DECODING = (
    *(zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, ValueError),
    *(zlib.error, lzma.LZMAError),
)
"""What zipfile and its decompressors raise for a member that is damaged or of an unknown method."""


@dataclass(frozen=True, slots=True)
class _Opened:
    """An archive, with its directory, in this process."""

    file: RangeFile
    archive: zipfile.ZipFile
    by_name: dict[str, zipfile.ZipInfo]


class Zip(Archives):
    """A zip archive, or several."""

    suffix = ".zip"

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self._ranges = Ranges(self.storage, remote=self.remote)
        self._cached = functools.lru_cache(maxsize=8)(self._open)
        self._opening = threading.Lock()

    def members(self, archive: StoredObject) -> Iterator[Member]:
        """See Archives."""
        file = RangeFile(self.storage, archive, unchanged=True)
        try:
            with zipfile.ZipFile(file) as opened:
                infos = {self.safe_name(unicode_name(info.filename)): info for info in opened.infolist()}
                for info in opened.infolist():
                    if info.is_dir():
                        continue
                    name = unicode_name(info.filename)
                    link = stat.S_ISLNK(info.external_attr >> 16)
                    yield _linked(opened, infos, info, name) if link else _member(info, name)
        except zipfile.BadZipFile as error:
            raise self.damaged(archive.key, error) from error

    def read_member(self, archive: str, name: str, entry: Entry) -> bytes:
        """See Archives. Raises RejectedImageError for a member whose CRC is wrong or that cannot be unpacked."""
        damage: Exception | None = None
        for again in (False, True):
            if again:
                # What is kept may be of before the archive was replaced.
                self._cached.cache_clear()
                self._ranges.forget(archive)
            opened = self._opened(archive)
            info = opened.by_name.get(name)
            if info is None or (entry.version and _version(info) != entry.version):
                damage = None
                continue
            try:
                return self._unpack(opened, archive, info)
            except _DECODING as error:
                damage = error
        if damage is None:
            raise changed(entry.path)
        raise RejectedImageError("unreadable_member", f"{type(damage).__name__}: {damage}") from damage

    def _unpack(self, opened: _Opened, archive: str, info: zipfile.ZipInfo) -> bytes:
        length = _HEADER + len(info.orig_filename.encode()) + len(info.extra) + info.compress_size
        opened.file.lend(info.header_offset, self._ranges.read(archive, info.header_offset, length))
        try:
            return opened.archive.read(info)
        finally:
            opened.file.lend(0, b"")

    def _opened(self, archive: str) -> _Opened:
        with self._opening:
            return self._cached(archive)

    def _open(self, archive: str) -> _Opened:
        item = self.storage.stat(archive)
        if item is None:
            raise StorageError(f"{self.storage.uri(archive)} does not exist", "It may have been moved or removed.")
        file = RangeFile(self.storage, item)
        try:
            # Python's declaration wants more of a file than is used of it.
            opened = zipfile.ZipFile(cast("zipfile._ZipReadable", file))
        except zipfile.BadZipFile as error:
            raise self.damaged(archive, error) from error
        by_name = {}
        for info in opened.infolist():
            by_name[self.safe_name(unicode_name(info.filename))] = info
        for info in opened.infolist():
            if stat.S_ISLNK(info.external_attr >> 16):
                name = self.safe_name(unicode_name(info.filename))
                target = _target(opened, by_name, info)
                by_name.pop(name, None)
                if target is not None:
                    by_name[name] = target
        return _Opened(file, opened, by_name)


def _member(info: zipfile.ZipInfo, name: str) -> Member:
    version = _version(info)
    if info.flag_bits & 0x1:
        version = ENCRYPTED
    elif info.file_size > _BOMB_BYTES and info.file_size > _MOST_RATIO * info.compress_size:
        version = BOMB
    return Member(name, info.file_size, version, folder_of(name))


def _linked(archive: zipfile.ZipFile, infos: dict[str, zipfile.ZipInfo], info: zipfile.ZipInfo, name: str) -> Member:
    """The file that a symbolic link (as `zip -y` stores them) leads to, under the link's name."""
    target = _target(archive, infos, info)
    if target is None:
        return Member(name, 0, DANGLING_MEMBER, folder_of(name))
    found = _member(target, name)
    return Member(name, found.size, found.version, folder_of(name))


def _target(
    archive: zipfile.ZipFile, infos: dict[str, zipfile.ZipInfo], info: zipfile.ZipInfo
) -> zipfile.ZipInfo | None:
    if info.file_size > 4096:
        return None
    to = archive.read(info).decode(errors="replace")
    name = posixpath.normpath(posixpath.join(posixpath.dirname(info.filename), to))
    found = infos.get(name)
    return None if found is None or stat.S_ISLNK(found.external_attr >> 16) else found


def _version(info: zipfile.ZipInfo) -> str:
    return f"crc32:{info.CRC:08x}"
