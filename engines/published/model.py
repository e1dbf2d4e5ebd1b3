"""The model of a published output, ready for new photos: network, standardization and PCA as one."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engines.core.errors import FruitsError, InputError
from engines.core.index.labelling import Labelling
from engines.core.index.selection import Selection
from engines.core.networks.canary import deviating_canary
from engines.core.networks.features import features_of
from engines.core.networks.model import Model, read_model
from engines.core.output import RunRecord, read_record
from engines.core.reduce.kept import read_pca
from engines.core.reduce.pca import Pca, project
from engines.core.rejects import RejectedImageError
from engines.core.storage import normalize_location, read_ahead
from engines.published.photos import Photo, find_photos

_READ_AHEAD = 32
_BATCH = 64
"""Photos that are projected together: a projection of one takes as long as that of some tens."""

_LABELLING = ("labels", "label_depth", "label_regex", "label_column")
"""Parameters of a run that say how its photos got their labels; records of before have none of them."""

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Transformed:
    """A photo's k numbers, `values`: float32[k], or why there are none: `reason` and `detail` as in the rejects.

    `path` is the photo's full URI or absolute path; `label` what the run's rule says below the place that was asked for
    (the folder a photo lies in, unless the run was told otherwise), "" where nothing is known.
    """

    path: str
    label: str
    values: Float32 | None
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class FittedModel:
    """The network and the PCA whose results `record` publishes below `output`."""

    output: str
    record: RunRecord
    model: Model
    pca: Pca

    def transform(
        self,
        photos: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        *,
        glob: str | Iterable[str] = (),
        threads: int = 0,
    ) -> Iterator[Transformed]:
        """Each photo of some files, folders and URLs, in order, as `fruits run` would have projected it: the same bits.

        `glob`: which files of a folder are photos, by default as in the run, which also says what is left out.
        `threads`: all cores by default. Memory: the names of the photos, and some 100 of them at a time. What is no
        photo has its reason in place of values; raises InputError for a place that does not exist, StorageError and
        TransientError for what cannot be read.
        """
        places = [photos] if isinstance(photos, str | os.PathLike) else photos
        of_the_run = self.record.parameters
        selection = Selection(
            glob=((glob,) if isinstance(glob, str) else tuple(glob)) or of_the_run.get("glob") or (),
            exclude=of_the_run.get("exclude") or (),
            hidden=of_the_run.get("hidden", False),
        )
        labelling = Labelling(
            **{name: of_the_run[name] for name in _LABELLING if of_the_run.get(name) is not None},
        )
        found = [photo for place in places for photo in find_photos(os.fspath(place), selection, labelling)]
        batch: list[tuple[Photo, Float32 | RejectedImageError]] = []
        for pair in zip(found, self._features(found, threads or os.cpu_count() or 1), strict=True):
            batch.append(pair)
            if len(batch) == _BATCH:
                yield from self._projected(batch)
                batch.clear()
        yield from self._projected(batch)

    def vector(self, content: bytes) -> Float32:
        """The k numbers of one photo's bytes, float32[k]. Raises RejectedImageError. Threads may call it at once."""
        row: Float32 = project(self.pca, features_of(content, self.model)[np.newaxis])[0]
        return row

    def vector_of(self, photo: Photo) -> Float32:
        """The k numbers of one photo. Raises InputError for what is no photo."""
        try:
            return self.vector(photo.read())
        except RejectedImageError as reject:
            raise InputError(
                f"{photo.entry.path} is not a photo that can be decoded: {reject.detail} ({reject.reason})",
                "JPEG, PNG, WebP, GIF, BMP, TIFF and PPM are decoded.",
            ) from reject

    def _features(self, photos: list[Photo], threads: int) -> Iterator[Float32 | RejectedImageError]:
        """Of each photo, in order. LiteRT and Pillow leave other threads alone while they compute."""

        def read(photo: Photo) -> bytes | RejectedImageError:
            try:
                return photo.read()
            except RejectedImageError as reject:
                return reject

        def compute(content: bytes | RejectedImageError | FruitsError) -> Float32 | RejectedImageError:
            if isinstance(content, FruitsError):
                raise content
            try:
                return content if isinstance(content, RejectedImageError) else features_of(content, self.model)
            except RejectedImageError as reject:
                return reject

        pending: deque[Future[Float32 | RejectedImageError]] = deque()
        with ThreadPoolExecutor(threads, thread_name_prefix="transform") as pool:
            try:
                for content in read_ahead(read, photos, _READ_AHEAD):
                    pending.append(pool.submit(compute, content))
                    if len(pending) > 2 * threads:
                        yield pending.popleft().result()
                while pending:
                    yield pending.popleft().result()
            finally:
                for future in pending:
                    future.cancel()

    def _projected(self, batch: list[tuple[Photo, Float32 | RejectedImageError]]) -> Iterator[Transformed]:
        kept = [features for _, features in batch if not isinstance(features, RejectedImageError)]
        values = iter(project(self.pca, np.stack(kept)) if kept else ())
        for photo, features in batch:
            path, label = photo.entry.path, photo.entry.label
            if isinstance(features, RejectedImageError):
                yield Transformed(path, label, None, features.reason, features.detail)
            else:
                yield Transformed(path, label, next(values))


def load_model(output: str | os.PathLike[str], *, arithmetic: str = "exact") -> FittedModel:
    """The model of what is published at `output`, a folder or URL.

    Raises InputError when nothing is published there, the libraries here are not those its features were computed
    with, or, unless `arithmetic` is `tolerant`, this CPU computes other bits.
    """
    location = normalize_location(os.fspath(output))
    record = read_record(location)
    model = read_model(location, record.model.fingerprint)
    deviating_canary(model, arithmetic)
    return FittedModel(location, record, model, read_pca(location, record.pca))
