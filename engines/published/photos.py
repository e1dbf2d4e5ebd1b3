"""What a person names to have it transformed: a photo, a folder of photos, or a URL of either."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from engines.core.errors import InputError
from engines.core.index.labeller import Labeller
from engines.core.index.labelling import Labelling
from engines.core.index.metadata import has_metadata
from engines.core.index.selection import LeftOut, Rules, Selection, check_not_empty, selected
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


def find_photos(place: str, selection: Selection, labelling: Labelling) -> Iterator[Photo]:
    """The photo at `place`, whatever its name; of a folder or URL prefix, the files that `selection` takes, in order.

    Labels are by the rule of `labelling`, below `place`: folders, what a regular expression finds, or metadata beside
    the photos. "" for a photo that nothing is said of; of a single photo only its name says something. Raises
    InputError for a place that does not exist, or has no file that is taken.
    """
    location = normalize_location(place)
    # What else a run keeps of its photos is not asked of new ones, and its own metadata are of its own photos.
    rule = replace(labelling, metadata=None, keep_columns=(), split_depth=None, split_column=None)
    if single := _single(location):
        known = rule.labels != "metadata"
        yield replace(single, entry=Labeller(single.source, rule, selection)(single.entry)) if known else single
        return
    source = open_source(location)
    source.check()
    left_out = LeftOut()
    label = _labeller(source, rule, selection)
    found = 0
    for entry in selected(source, selection, left_out):
        found += 1
        yield Photo(source, label(entry))
    check_not_empty(source, selection, found, left_out)


def _labeller(source: Source, rule: Labelling, selection: Selection) -> Callable[[Entry], Entry]:
    if rule.labels == "metadata" and rule.label_column not in source.columns():
        aside = Rules(selection).why_aside
        if not has_metadata(source, lambda key: aside(key) is not None):
            return _without_label
    return Labeller(source, rule, selection)


def _without_label(entry: Entry) -> Entry:
    return replace(entry, label="")


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
