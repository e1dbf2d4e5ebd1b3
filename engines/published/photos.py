"""What a person names to have it transformed: a photo, a folder of photos, or a URL of either."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterator
from dataclasses import dataclass

from engines.core.errors import InputError
from engines.core.sources import Entry, Source, open_source
from engines.core.sources.files import Files
from engines.core.storage import is_folder, normalize_location, open_storage


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo that was found: where it is read from, and its entry there."""

    source: Source
    entry: Entry

    def read(self) -> bytes:
        """Its bytes. Raises as Source.read does."""
        return self.source.read(self.entry)


def find_photos(place: str, glob: str) -> Iterator[Photo]:
    """The photo at `place`, whatever its name; of a folder or URL prefix, the files that `glob` matches, in order.

    The label of a photo is the folder it lies in below `place`, "" for a single one. Raises InputError for a place that
    does not exist, or has no file that matches.
    """
    location = normalize_location(place)
    if single := _single(location):
        yield single
        return
    source = open_source(location)
    source.check()
    files = 0
    found = False
    for entry in source.list():
        files += 1
        key = source.key(entry.path)
        if not source.names_tell or fnmatch.fnmatchcase(key if "/" in glob else key.rsplit("/", 1)[-1], glob):
            source.check_entry(entry)
            found = True
            yield Photo(source, entry)
    if not files:
        raise source.nothing_there()
    if not found:
        raise InputError(
            f"none of the {files:,} files below {location} matches {glob}",
            "Choose another --glob; upper and lower case differ.",
        )


def single_photo(place: str) -> Photo:
    """The photo at `place`. Raises InputError for a place that does not exist, and for a folder."""
    location = normalize_location(place)
    photo = _single(location)
    if photo is None:
        raise InputError(f"{location} is not a single photo", "Name one photo, or its URL.")
    return photo


def _single(location: str) -> Photo | None:
    """The photo at `location`, or None if it is a folder, a prefix or an archive."""
    if not isinstance(open_source(location), Files):
        return None
    parent, _, name = location.rpartition("/")
    if is_folder(location):
        if os.path.isdir(location):
            return None
        if not os.path.exists(location):
            raise InputError(f"{location} does not exist", "Name a photo, a folder of photos, or a URL.")
        return Photo(open_source(parent or "/"), Entry(location, ""))
    if parent.endswith("/") or not open_storage(parent).exists(name):
        return None  # a bucket, or a prefix
    return Photo(open_source(parent), Entry(location, ""))
