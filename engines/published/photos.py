"""What a person names to have it transformed: a photo, a folder of photos, or a URL of either."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from engines.core.errors import InputError
from engines.core.index.selection import LeftOut, Selection, check_not_empty, selected
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


def find_photos(place: str, selection: Selection) -> Iterator[Photo]:
    """The photo at `place`, whatever its name; of a folder or URL prefix, the files that `selection` takes, in order.

    The label of a photo is the folder it lies in below `place`, "" for a single one. Raises InputError for a place that
    does not exist, or has no file that is taken.
    """
    location = normalize_location(place)
    if single := _single(location):
        yield single
        return
    source = open_source(location)
    source.check()
    left_out = LeftOut()
    found = 0
    for entry in selected(source, selection, left_out):
        found += 1
        yield Photo(source, entry)
    check_not_empty(source, selection, found, left_out)


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
