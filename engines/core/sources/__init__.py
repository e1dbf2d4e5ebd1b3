"""Where photos come from: each kind of source lists entries and reads them.

A new kind is a file beside this one, and a row in SOURCES.
"""

from __future__ import annotations

import functools

from engines.core.sources.base import Entry, Source, folder_label
from engines.core.sources.files import Files
from engines.core.sources.parquet import Parquet
from engines.core.sources.tar import Tar
from engines.core.sources.zip import Zip
from engines.core.storage import normalize_location

__all__ = ["SOURCES", "Entry", "Source", "folder_label", "open_source"]

SOURCES: tuple[type[Source], ...] = (Tar, Zip, Parquet, Files)
"""The kinds of sources, each asked in turn whether it reads a location. Files take all that is left."""


@functools.lru_cache(maxsize=64)
def open_source(location: str) -> Source:
    """The source at `location` (see `normalize_location`); one per process."""
    location = normalize_location(location)
    return next(kind for kind in SOURCES if kind.accepts(location))(location)
