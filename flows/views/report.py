"""report.html: one page about the published results, readable without a server or a network."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from engines.core import tables
from engines.core.errors import FruitsError
from engines.core.networks.images import decode
from engines.core.output import REJECTS, REPORT, Part, RunRecord, rejects_prefix, spectrum_key
from engines.core.quality.figures import Quality
from engines.core.rejects import REASONS, RejectedImageError
from engines.core.sources import Entry, open_source
from engines.core.storage import Storage, open_storage, read_ahead
from flows.views import charts
from flows.views.summary import arithmetic_remarks

_POINTS = 3000
"""Rows the charts and the neighbours are drawn from: spread over all parts, so a report costs the same at any scale."""
_PARTS = 24
_EXAMPLES = 8
_NEIGHBOURS = 5
_THUMBNAIL = 88
_THUMBNAIL_SIDE = 224
_REJECTS_SHOWN = 50


def write_report(output: str, record: RunRecord, quality: Quality | None = None) -> None:  # noqa: ARG001
    """Write report.html for the run `record` describes: figures, spectrum, a map of the images, nearest neighbours."""
    storage = open_storage(output)
    sample = _sample(storage, record.parts)
    labels = sample["label"].to_pylist()
    values = tables.to_matrix(sample["pcaFeatures"])
    spectrum = tables.from_parquet(storage.read(spectrum_key(record.pca)))
    template = Environment(
        loader=PackageLoader("flows.views"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("report.html.j2")
    page = template.render(
        record=record,
        model=record.to_json()["model"],
        remarks=arithmetic_remarks(record),
        output=storage.url,
        reasons=REASONS,
        rejects=_rejects(storage, record),
        rejects_shown=_REJECTS_SHOWN,
        sampled=len(labels),
        agreement=_agreement(labels, values),
        spectrum=charts.spectrum(spectrum["cumulative_ratio"].to_numpy(), record.components),
        image_map=charts.image_map(values, labels),
        timings=charts.timings(record.timings),
        neighbours=_neighbours(record.source, sample["path"].to_pylist(), labels, values),
    )
    storage.write(REPORT, page.encode())


def _sample(storage: Storage, parts: Sequence[Part]) -> pa.Table:
    """Up to _POINTS rows of the results, from parts and rows at even distances."""
    filled = [part for part in parts if part.rows]
    chosen = [filled[i] for i in np.unique(np.linspace(0, len(filled) - 1, min(_PARTS, len(filled))).astype(int))]
    rows = pa.concat_tables([tables.from_parquet(storage.read(part.key)) for part in chosen])
    return rows.take(np.unique(np.linspace(0, rows.num_rows - 1, min(_POINTS, rows.num_rows)).astype(int)))


def _agreement(labels: list[str], values: npt.NDArray[np.float32]) -> float | None:
    """The share of sampled images whose nearest other image has the same label; None with a single label."""
    if len(set(labels)) < 2:
        return None
    nearest = _nearest(values, np.arange(len(values)), 1)[:, 0]
    names = np.array(labels)
    return float((names[nearest] == names).mean())


def _nearest(values: npt.NDArray[np.float32], rows: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """For each of `rows`, the `count` nearest other rows by Euclidean distance: int64[len(rows), count]."""
    wide = values.astype(np.float64)
    squares = (wide**2).sum(axis=1)
    distances = squares[rows, np.newaxis] + squares - 2 * wide[rows] @ wide.T
    distances[np.arange(len(rows)), rows] = np.inf
    return np.argsort(distances, axis=1, kind="stable")[:, :count]


def _neighbours(source: str, paths: list[str], labels: list[str], values: npt.NDArray[np.float32]) -> list[list[Any]]:
    """Rows of thumbnails: an image, then its nearest neighbours; each (data URI or None, label, same label)."""
    chosen = np.unique(np.linspace(0, len(paths) - 1, min(_EXAMPLES, len(paths))).astype(int))
    count = min(_NEIGHBOURS, len(paths) - 1)
    order = [[int(row), *near.tolist()] for row, near in zip(chosen, _nearest(values, chosen, count), strict=True)]
    photos = open_source(source)
    wanted = sorted({row for line in order for row in line})
    contents = read_ahead(lambda row: photos.read(Entry(paths[row], labels[row])), wanted, window=16)
    thumbnails = {row: _thumbnail(content) for row, content in zip(wanted, contents, strict=True)}
    return [[(thumbnails[row], labels[row], labels[row] == labels[line[0]]) for row in line] for line in order]


def _thumbnail(content: bytes | FruitsError) -> str | None:
    """A small JPEG as a data URI; None (the page says so) for an image that cannot be read any more."""
    if isinstance(content, FruitsError):
        return None
    try:
        pixels = decode(content, _THUMBNAIL_SIDE)
    except RejectedImageError:
        return None
    sink = io.BytesIO()
    Image.fromarray(pixels).resize((_THUMBNAIL, _THUMBNAIL)).save(sink, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(sink.getvalue()).decode()}"


def _rejects(storage: Storage, record: RunRecord) -> list[dict[str, str]]:
    """The first rejected images of this run's model."""
    if not record.counts.rejected:
        return []
    rows: list[dict[str, str]] = []
    for item in storage.list(REJECTS):
        if item.key.startswith(rejects_prefix(record.model.fingerprint)):
            rows += tables.from_parquet(storage.read(item.key)).to_pylist()
            if len(rows) >= _REJECTS_SHOWN:
                break
    return rows[:_REJECTS_SHOWN]
