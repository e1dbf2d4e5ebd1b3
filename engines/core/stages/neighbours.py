"""The nearest rows of one band of the distance matrix, and the moments of each part: the workers' half of a check."""

from __future__ import annotations

import functools
import threading
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from engines.core import tables
from engines.core.index.sharding import name_hash
from engines.core.neighbours import Nearest, NearestSearch
from engines.core.proof.reading import read_table, sealed_table
from engines.core.quality.found import nearest_table
from engines.core.quality.plan import ALL_FEATURES, NEIGHBOURS, Band, PartRows, Space
from engines.core.quality.rows import SplitRule, read_columns
from engines.core.reduce.moments import Moments, moments_of
from engines.core.reduce.pca import Pca, standardized
from engines.core.sources import open_source
from engines.core.stages.shard_files import read_features
from engines.core.storage import open_storage

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]

_KEPT_BYTES = 128 * 2**20
"""Of parts that a worker keeps in memory: 260,000 rows of 128. Of more rows, the first so many."""

_kept: dict[tuple[str, str], Float32] = {}
_keeping = threading.Lock()


@dataclass(frozen=True, eq=False)
class Published:
    """What every item of a check needs to find the rows."""

    output: str
    fingerprint: str
    parts: tuple[PartRows, ...]
    rule: SplitRule
    pca: Pca


@dataclass(frozen=True, slots=True)
class MomentsOfParts:
    """Some parts of the results, by their numbers, whose features are summed on one worker."""

    numbers: list[int]


def find_nearest(band: Band, published: Published) -> int:
    """Write the nearest rows of each question of a band (tables.NEAREST); how many questions there are.

    The rows are read part by part, and only so many kept for the next band (_KEPT_BYTES): memory does not grow with
    them.
    """
    space = band.space
    asked = [_questions(published, part, space) for part in published.parts[band.start : band.stop]]
    queries = np.concatenate([vectors for _, vectors in asked])
    rows = np.concatenate([numbers for numbers, _ in asked])
    answers: list[Int64] = []
    with threadpool_limits(limits=1):
        search = NearestSearch(queries, NEIGHBOURS, rows if space.training is None else None)
        for part in published.parts:
            numbers, vectors = _answers(published, part, space)
            answers.append(numbers)
            search.add(vectors)
    found = search.result()
    nearest = Nearest(np.concatenate(answers)[found.rows], found.distances)
    open_storage(published.output).write(band.key, sealed_table(nearest_table(rows, nearest), band.key))
    return len(rows)


def sum_parts(task: MomentsOfParts, published: Published) -> dict[str, Moments]:
    """The exact moments of the features of each part (train, test, ...) over some parts of the results."""
    grid = published.pca.grid
    sums: dict[str, Moments] = {}
    with threadpool_limits(limits=1):
        for number in task.numbers:
            part = published.parts[number]
            table = read_features(published.output, published.fingerprint, part.shard)
            features = tables.to_matrix(table["features"])
            splits = np.array(_table(published, part)[1], dtype=object)
            for split in sorted(set(splits.tolist()) - {""}):
                moments = moments_of([features[splits == split]], features.shape[1], grid)
                sums[split] = sums[split] + moments if split in sums else moments
    return sums


def _questions(published: Published, part: PartRows, space: Space) -> tuple[Int64, Float32]:
    paths, splits = _table(published, part)
    asked = np.ones(part.rows, bool)
    if space.most_hash is not None:
        key = open_source(published.rule.source).key
        asked &= np.array([name_hash(key(path)) <= space.most_hash for path in paths], bool)
    if space.training is not None:
        asked &= np.array([split not in ("", space.training) for split in splits], bool)
    return _chosen(published, part, space, asked)


def _answers(published: Published, part: PartRows, space: Space) -> tuple[Int64, Float32]:
    answers = np.ones(part.rows, bool)
    if space.training is not None:
        answers = np.array([split == space.training for split in _table(published, part)[1]], bool)
    return _chosen(published, part, space, answers)


def _chosen(published: Published, part: PartRows, space: Space, chosen: npt.NDArray[np.bool_]) -> tuple[Int64, Float32]:
    """The numbers and the vectors of the chosen rows of a part."""
    width = space.components or len(published.pca.mean)
    if not chosen.any():
        return np.empty(0, np.int64), np.empty((0, width), np.float32)
    if space.components == ALL_FEATURES:
        table = read_features(published.output, published.fingerprint, part.shard)
        vectors = standardized(published.pca, tables.to_matrix(table["features"])[chosen])
    else:
        vectors = np.ascontiguousarray(_results(published.output, part.key)[chosen, :width])
    return part.first + np.flatnonzero(chosen), vectors


def _results(output: str, key: str) -> Float32:
    """The values of a part, float32[n, k]. Every band of a worker needs every part, and reading costs as much as
    comparing: parts are kept while there is room. Their keys name what they hold, so none is ever another one.
    """
    place = (output, key)
    with _keeping:
        if place in _kept:
            return _kept[place]
    values = tables.to_matrix(read_table(open_storage(output), key)["pcaFeatures"])
    with _keeping:
        if sum(part.nbytes for part in _kept.values()) + values.nbytes <= _KEPT_BYTES:
            _kept[place] = values
        elif _kept and next(iter(_kept))[0] != output:
            _kept.clear()  # of another output, which this worker is done with
    return values


def _table(published: Published, part: PartRows) -> tuple[list[str], list[str]]:
    """Paths and splits of a part."""
    return _read_names(published.output, part.key, published.rule)


@functools.lru_cache(maxsize=64)
def _read_names(output: str, key: str, rule: SplitRule) -> tuple[list[str], list[str]]:
    table = read_columns(output, key, ("path", "split"))
    return table["path"].to_pylist(), rule.of(table)
