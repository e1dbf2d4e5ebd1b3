"""What a source is: it lists entries, and reads the bytes of each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pyarrow as pa

from engines.core.errors import InputError


@dataclass(frozen=True, slots=True)
class Entry:
    """One photo as listed. `path` is its full URI or absolute path, as in every table; `label` is "" for none.

    `version` changes with the content; it and `size` are what a listing says, and not known of a row of the results.
    `split`: such as train or test, "" for none. `columns`: what else is known of the photo, by name; of an entry that a
    source lists, what the source itself knows (see `Source.columns`), of one of a catalog, what the run keeps.
    `own_label`: the source's own, where the run gives another one; None where it is `label`. `offset`: where its bytes
    begin in an archive that has no directory of its own, -1 elsewhere and where not known.
    """

    path: str
    label: str
    size: int = 0
    version: str = ""
    split: str = ""
    columns: Mapping[str, Any] = field(default_factory=dict, hash=False)
    own_label: str | None = None
    offset: int = -1


class Source(ABC):
    """Photos at one location. A kind of source is one file beside this one, and a row in `engines.core.sources`."""

    names_tell: ClassVar[bool] = True
    """Whether the name of an entry tells if it is a photo; else all are, whatever they are called."""

    def __init__(self, location: str) -> None:
        self.location = location

    @classmethod
    @abstractmethod
    def accepts(cls, location: str) -> bool:
        """Whether this kind reads what lies at the normalized `location`; nothing is opened for it."""

    @abstractmethod
    def check(self) -> None:
        """Raise InputError unless the source is there and can be listed."""

    @abstractmethod
    def list(self) -> Iterator[Entry]:
        """Every entry, in the order of the keys' UTF-8 bytes."""

    def columns(self) -> Mapping[str, pa.DataType]:
        """The columns that the source itself has of its photos; the values are those of `Entry.columns`, None for none.

        A label may be made of one, or they travel into the results; a source of files has none.
        """
        return {}

    @abstractmethod
    def check_entry(self, entry: Entry) -> None:
        """Raise InputError for an entry that belongs to a run but could not be read, whatever it holds."""

    @abstractmethod
    def read(self, entry: Entry) -> bytes:
        """The bytes of the photo. May be called from several threads at once.

        Raises RejectedImageError for what is known to have no bytes, StorageError (gone, forbidden) and TransientError
        (may heal).
        """

    @abstractmethod
    def key(self, path: str) -> str:
        """The part of an entry's `path` below the source: equal for a copy of the source in another place.

        Needs no access to the source: outputs outlive the photos they were made of.
        """

    @abstractmethod
    def nothing_there(self) -> InputError:
        """The error for a source that lists nothing."""


def folder_label(key: str) -> str:
    """The name of the folder an image lies in, below the source; "" for an image directly in the source."""
    folders = key.split("/")[:-1]
    return folders[-1] if folders else ""
