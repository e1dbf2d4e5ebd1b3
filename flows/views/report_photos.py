"""The photos that a report shows: which, where they lie on its maps, and small pictures of them in one image."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from engines.core import tables
from engines.core.errors import FruitsError
from engines.core.index.catalog import read_manifest
from engines.core.index.lookup import find_entries
from engines.core.networks.images import decode
from engines.core.output import Part, RunRecord
from engines.core.proof.reading import read_table
from engines.core.quality.layout import first_two, neighbours_within
from engines.core.rejects import RejectedImageError
from engines.core.sources import Entry, open_source
from engines.core.storage import Storage, read_ahead

_RUN_PHOTOS = 300
"""Photos on the map of a report without a check, so that it costs little at the end of a run."""
_PARTS = 24
_COLUMNS = 40
_READ_AHEAD = 16

_SIZES = ((64, 60), (56, 50), (48, 45), (40, 40), (32, 30))
"""Side in pixels and quality of the small pictures: the first that fits."""
_MOST_BYTES = 3_000_000
"""Of the image of all small pictures; as text in the page it is a third larger."""


@dataclass(eq=False)
class Photos:
    """The photos of a report by their numbers: those on the maps first, then what else is shown."""

    paths: list[str]
    labels: list[str]
    neighbours: list[list[int]]
    components: list[list[float]]
    """The first two, of the photos on the maps."""
    plane: list[list[float]] | None
    """Where neighbours stay neighbours, of the photos on the maps; None without a check."""
    numbers: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.numbers = {path: number for number, path in enumerate(self.paths)}

    @property
    def mapped(self) -> int:
        """How many are on the maps."""
        return len(self.components)

    def number(self, path: str, label: str) -> int:
        """The number of this photo, which is shown too from now on."""
        if path not in self.numbers:
            self.numbers[path] = len(self.paths)
            self.paths.append(path)
            self.labels.append(label)
        return self.numbers[path]


def photos_of_run(storage: Storage, parts: Sequence[Part]) -> Photos:
    """Photos of some parts of the results, at even distances: a report of a run costs the same at any scale."""
    filled = [part for part in parts if part.rows]
    chosen = [filled[i] for i in np.unique(np.linspace(0, len(filled) - 1, min(_PARTS, len(filled))).astype(int))]
    columns = ["path", "label", "pcaFeatures"]
    rows = pa.concat_tables([read_table(storage, part.key).select(columns) for part in chosen])
    rows = rows.take(np.unique(np.linspace(0, rows.num_rows - 1, min(_RUN_PHOTOS, rows.num_rows)).astype(int)))
    values = tables.to_matrix(rows["pcaFeatures"])
    return Photos(
        rows["path"].to_pylist(),
        rows["label"].to_pylist(),
        neighbours_within(values).tolist(),
        _rounded(first_two(values)),
        None,
    )


def photos_of_check(layout: pa.Table) -> Photos:
    """The photos of the map that a check has drawn (tables.LAYOUT)."""
    plane, components = (
        _rounded(np.stack([layout[name].to_numpy() for name in names], axis=1))
        for names in (("x", "y"), ("first", "second"))
    )
    return Photos(
        layout["path"].to_pylist(), layout["label"].to_pylist(), layout["neighbours"].to_pylist(), components, plane
    )


def _rounded(plane: npt.NDArray[np.float32]) -> list[list[float]]:
    return [[float(f"{value:.4g}") for value in row] for row in plane.tolist()]


@dataclass(frozen=True, slots=True)
class Pictures:
    """Small pictures of all photos in one image, row by row. `readable`: whether there is one of each photo."""

    uri: str
    side: int
    columns: int
    readable: list[bool]


def pictures_of(output: str, record: RunRecord, photos: Photos) -> Pictures:
    """Read the photos once more. One that cannot be read any more has no picture, and the page says so."""
    source = open_source(record.source)
    known = find_entries(output, read_manifest(output, record.catalog), photos.paths)
    entries = [known[path] for path in photos.paths]
    largest = _SIZES[0][0]

    def read(entry: Entry) -> bytes | None:
        try:
            return source.read(entry)
        except RejectedImageError:
            return None

    tiles = [_tile(content, largest) for content in read_ahead(read, entries, _READ_AHEAD)]
    content = b""
    side = largest
    for side, quality in _SIZES:
        content = _sheet(tiles, side, quality)
        if len(content) <= _MOST_BYTES:
            break
    uri = f"data:image/webp;base64,{base64.b64encode(content).decode()}"
    return Pictures(uri, side, _COLUMNS, [tile is not None for tile in tiles])


def _tile(content: bytes | FruitsError | None, side: int) -> Image.Image | None:
    if content is None or isinstance(content, FruitsError):
        return None
    try:
        return Image.fromarray(decode(content, side))
    except RejectedImageError:
        return None


def _sheet(tiles: Sequence[Image.Image | None], side: int, quality: int) -> bytes:
    sheet = Image.new("RGB", (side * _COLUMNS, side * max(1, -(-len(tiles) // _COLUMNS))), "white")
    for number, tile in enumerate(tiles):
        if tile is not None:
            row, column = divmod(number, _COLUMNS)
            sheet.paste(tile if tile.width == side else tile.resize((side, side)), (column * side, row * side))
    sink = io.BytesIO()
    sheet.save(sink, "WEBP", quality=quality, method=4)
    return sink.getvalue()


def as_data(photos: Photos, pictures: Pictures) -> dict[str, Any]:
    """What the page's script gets of the photos."""
    names = sorted(set(photos.labels))
    codes = {name: code for code, name in enumerate(names)}
    return {
        "labels": names,
        "label": [codes[label] for label in photos.labels],
        "path": photos.paths,
        "neighbours": photos.neighbours,
        "components": photos.components,
        "plane": photos.plane,
        "readable": pictures.readable,
        "columns": pictures.columns,
    }
