"""Photos that are the same file twice: rows of equal features are candidates, and the files' bytes decide."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engines.core.errors import FruitsError
from engines.core.quality.distances import groups
from engines.core.quality.rows import Rows
from engines.core.rejects import RejectedImageError
from engines.core.sources import Entry, open_source
from engines.core.storage import read_ahead

Int64 = npt.NDArray[np.int64]

_READ_AHEAD = 32


@dataclass(frozen=True, eq=False)
class Copies:
    """`group`: int64[n], the number of the group of equal files a row is in, or NO_GROUP. `unread`: photos whose bytes
    were to be compared, but are no longer there to be read."""

    group: Int64
    unread: int


def find_copies(rows: Rows, source: str, pairs: list[tuple[int, int]]) -> Copies:
    """Compare the bytes of the photos in `pairs` of rows at the same place.

    Equal files have equal features, to the last bit, and so are at the same place: no other photo has to be read.
    """
    wanted = sorted({row for pair in pairs for row in pair})
    photos = open_source(source)

    def digest(row: int) -> bytes | None:
        try:
            return hashlib.sha256(photos.read(Entry(rows.paths[row], rows.labels[row]))).digest()
        except RejectedImageError:
            return None

    equal: dict[bytes, list[int]] = defaultdict(list)
    unread = 0
    for row, content in zip(wanted, read_ahead(digest, wanted, _READ_AHEAD), strict=True):
        if content is None or isinstance(content, FruitsError):
            unread += 1
        else:
            equal[content].append(row)
    same = [(first, other) for first, *others in equal.values() for other in others]
    return Copies(groups(same, len(rows.paths)), unread)
