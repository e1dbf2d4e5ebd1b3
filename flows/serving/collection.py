"""The published output that is served: its model, its rows, and small pictures of its photos."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from engines.core.errors import FruitsError
from engines.core.networks.images import decode
from engines.core.quality.figures import latest_quality
from engines.core.rejects import RejectedImageError
from engines.core.sources import Entry, open_source
from engines.published import FittedModel, load_model
from engines.published.rows import read_rows, similar
from engines.published.writers import numbers
from flows.serving.answers import Collection, Features, NeighbourPhoto, PhotoMap, SimilarPhotos, VoteOfLabels
from flows.serving.map import open_plane

_LOGGER = logging.getLogger("fruits.serve")

_PICTURE_SIDE = 224
_PICTURES_KEPT = 2048
"""Of 5 to 15 kB each."""

Picture = tuple[bytes, str]
"""An image and its media type."""

PLACEHOLDER: Picture = (Path(__file__).with_name("static").joinpath("absent.svg").read_bytes(), "image/svg+xml")
"""Shown for a photo that cannot be read any more."""


class Published:
    """One output in memory. Everything may be called from several threads at once."""

    def __init__(self, model: FittedModel, max_upload: int) -> None:
        self._model = model
        self._rows = read_rows(model.output, model.record)
        self._source = open_source(model.record.source)
        self._max_upload = max_upload
        self._picture = functools.lru_cache(_PICTURES_KEPT)(self._read_picture)
        quality = latest_quality(model.output, model.record)
        self._plane = open_plane(model.output, quality, self._rows)
        parts = [part.sha256 for part in model.record.parts]
        facts = [model.record.model.fingerprint, model.record.pca, parts, quality and quality.check]
        self.version = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
        """Another one whenever rows, model or map are others."""
        self._points = self._plane.points(self.version)

    @classmethod
    def open(cls, output: str, arithmetic: str, max_upload: int) -> Published:
        """What is published at `output`. Raises InputError as `load_model` does."""
        return cls(load_model(output, arithmetic=arithmetic), max_upload)

    def __len__(self) -> int:
        return len(self._rows)

    def describe(self) -> Collection:
        """What is served."""
        record = self._model.record
        return Collection(
            version=self.version,
            photos=len(self),
            labels=record.counts.labels,
            components=record.components,
            network=record.model.recipe["architecture"].partition(" ")[0],
            fingerprint=record.model.fingerprint,
            trained=record.model.recipe["weights"] != "random",
            max_upload=self._max_upload,
        )

    def features(self, content: bytes) -> Features:
        """The numbers of a photo. Raises RejectedImageError."""
        return Features(version=self.version, pcaFeatures=numbers(self._model.vector(content)))

    def points(self) -> PhotoMap:
        """Where the photos lie."""
        return self._points

    def similar(self, content: bytes, k: int) -> SimilarPhotos:
        """The `k` published photos nearest to a photo. Raises RejectedImageError."""
        vector: npt.NDArray[np.float32] = self._model.vector(content)
        found = similar(self._rows, vector, k)
        neighbours = [
            NeighbourPhoto(
                row=each.row,
                name=self._source.key(each.path),
                label=each.label,
                distance=round(each.distance, 4),
                photo=f"/api/photos/{each.row}?version={self.version}",
            )
            for each in found.neighbours
        ]
        vote = None if found.vote is None else VoteOfLabels(label=found.vote.label, share=found.vote.share)
        place = self._plane.place(vector)
        return SimilarPhotos(version=self.version, vote=vote, neighbours=neighbours, place=place)

    def picture(self, row: int) -> Picture:
        """A small picture of the photo of a row; PLACEHOLDER where it cannot be read any more."""
        try:
            return self._picture(row)
        except (FruitsError, RejectedImageError) as error:
            _LOGGER.warning("the photo of row %d cannot be shown: %s", row, error)
            return PLACEHOLDER

    def _read_picture(self, row: int) -> Picture:
        path, label = self._rows.paths[row].as_py(), self._rows.labels[row].as_py()
        pixels = decode(self._source.read(Entry(path, label)), _PICTURE_SIDE)
        sink = io.BytesIO()
        Image.fromarray(pixels).save(sink, "JPEG", quality=85)
        return sink.getvalue(), "image/jpeg"
