"""Photos in tar archives, as `tar` and WebDataset make them.

A tar has no directory: its headers lie between its files. Listing passes over it once, and notes where each file
begins, so that workers read that range. Of photos up to DIGESTED bytes, which pass by anyway, the version is a digest
of the content: an archive that is made again with some photos more costs these photos only. The version of larger ones
is that of their archive.

WebDataset (https://github.com/webdataset/webdataset) stores a sample as members of one stem, the name up to the first
dot behind the folder: `0001.jpg`, `0001.cls`. Its `.cls` is the label, else `label`, `cls` or `class` of its `.json`,
else its `.txt`, else the folder of the member. All three are columns too.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import posixpath
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa

from engines.core.errors import InputError, StorageError
from engines.core.sources.archives import DANGLING_MEMBER, SPARSE, Archives, Member, folder_of, unicode_name
from engines.core.sources.base import Entry
from engines.core.sources.ranges import RangeFile, Ranges
from engines.core.storage import StoredObject
from engines.core.storage.base import changed

DIGESTED = 2**20
"""Bytes up to which the version of a photo is a digest of its content."""

_LISTING_BUFFER = 2**21
_DIGEST = 16
_SIDECARS = ("cls", "json", "txt")
_LARGEST_SIDECAR = 2**20
_STEM = re.compile(r"((?:.*/)?[^./][^.]*)\.([^/]*)", re.DOTALL)


class Tar(Archives):
    """A tar archive without compression, or several."""

    suffix = ".tar"

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self._ranges = Ranges(self.storage, remote=self.remote)

    def columns(self) -> Mapping[str, pa.DataType]:
        """See Source: what WebDataset stores beside a photo, as text."""
        return dict.fromkeys(_SIDECARS, pa.string())

    def members(self, archive: StoredObject) -> Iterator[Member]:
        """See Archives. Raises InputError for an archive that does not end as archives do."""
        file = io.BufferedReader(RangeFile(self.storage, archive, unchanged=True), _LISTING_BUFFER)
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                listing = _Listing(tar, self.storage.uri(archive.key), archive.version)
                yield from listing.members()
                file.seek(tar.offset)
                if file.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
                    raise self.damaged(archive.key, f"no header and no end of the archive at byte {tar.offset:,}")
        except tarfile.TarError as error:
            raise self.damaged(archive.key, error) from error

    def read_member(self, archive: str, name: str, entry: Entry) -> bytes:
        """See Archives."""
        if entry.offset < 0:
            found = self._index(archive).get(name)
            if found is None:
                raise StorageError(f"{entry.path} does not exist", "The archive was changed since it was listed.")
            return self.read(found)
        digested = entry.size <= DIGESTED
        version = "" if digested else entry.version
        content = self._ranges.read(archive, entry.offset, entry.size, version)
        if digested and _digest(content) != entry.version:
            self._ranges.forget(archive)  # what is kept may be of before the archive was replaced
            content = self._ranges.read(archive, entry.offset, entry.size, version)
            if _digest(content) != entry.version:
                raise changed(entry.path)
        return content

    @functools.lru_cache(maxsize=256)  # noqa: B019 - sources live as long as the process
    def _index(self, archive: str) -> dict[str, Entry]:
        """The entries of an archive by name, for readers that know no more than a path."""
        item = self.storage.stat(archive)
        if item is None:
            raise StorageError(f"{self.storage.uri(archive)} does not exist", "It may have been moved or removed.")
        prefix = self.storage.uri(f"{archive}/")
        return {entry.path.removeprefix(prefix): entry for entry in self._entries(item)}


class _Listing:
    """One pass over an archive."""

    def __init__(self, tar: tarfile.TarFile, uri: str, version: str) -> None:
        self._tar = tar
        self._uri = uri
        self._version = version
        self._files: dict[str, Member] = {}
        self._links: dict[str, str] = {}
        self._sidecars: dict[str, dict[str, str]] = {}

    def members(self) -> list[Member]:
        """The photos, with their labels, and what else is no sidecar of theirs."""
        for info in self._tar:
            name = unicode_name(info.name)
            if info.issym():
                self._links[name] = posixpath.join(posixpath.dirname(name), unicode_name(info.linkname))
            elif info.islnk():
                self._links[name] = unicode_name(info.linkname)
            elif info.isreg():
                self._files[name] = Member(name, info.size, SPARSE) if info.issparse() else self._file(info, name)
                self._links.pop(name, None)
        for name in self._links:
            self._files[name] = self._resolved(name)
        photos = {stem for name in self._files if (stem := _stem(name)) and not _is_sidecar(name)}
        return [
            self._labelled(member)
            for name, member in self._files.items()
            if not (_is_sidecar(name) and _stem(name) in photos)
        ]

    def _file(self, info: tarfile.TarInfo, name: str) -> Member:
        content = b""
        if info.size <= max(DIGESTED, _LARGEST_SIDECAR):
            file = self._tar.extractfile(info)
            content = file.read() if file else b""
            if len(content) != info.size:
                raise tarfile.ReadError(f"unexpected end of data in {name}")
        if _is_sidecar(name) and (stem := _stem(name)):
            self._sidecars.setdefault(stem, {})[_extension(name)] = content.decode(errors="replace")
        version = _digest(content) if info.size <= DIGESTED else self._version
        return Member(name, info.size, version, folder_of(name), offset=info.offset_data)

    def _resolved(self, name: str) -> Member:
        """The file that a link leads to, under the link's name."""
        target, steps = name, 0
        while target in self._links and steps < len(self._links):
            target, steps = self._links[target], steps + 1
        found = self._files.get(target) or self._files.get(posixpath.normpath(target))
        if found is None:
            return Member(name, 0, DANGLING_MEMBER, folder_of(name))
        return replace(found, name=name, label=folder_of(name))

    def _labelled(self, member: Member) -> Member:
        stem = _stem(member.name) or ""
        sidecars = self._sidecars.get(stem)
        if not sidecars:
            return member
        label = self._label(sidecars, stem)
        return replace(member, label=member.label if label is None else label, columns=sidecars)

    def _label(self, sidecars: dict[str, str], stem: str) -> str | None:
        """The label that the sidecars of a photo give, or None. Raises InputError for JSON that is none."""
        if "cls" in sidecars:
            return sidecars["cls"].strip()
        if "json" in sidecars:
            try:
                facts: Any = json.loads(sidecars["json"])
            except ValueError as error:
                raise InputError(f"{self._uri}/{stem}.json is no JSON: {error}", "Mend it in the archive.") from error
            for name in ("label", "cls", "class"):
                if isinstance(facts, dict) and isinstance(facts.get(name), str | int):
                    return str(facts[name])
        return sidecars["txt"].strip() if "txt" in sidecars else None


def _stem(name: str) -> str | None:
    match = _STEM.fullmatch(name)
    return match[1] if match else None


def _extension(name: str) -> str:
    match = _STEM.fullmatch(name)
    return match[2].lower() if match else ""


def _is_sidecar(name: str) -> bool:
    return _extension(name) in _SIDECARS


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=_DIGEST).hexdigest()
