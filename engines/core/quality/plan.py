"""The distance matrix of published results, cut into items: each a band of rows, whose nearest rows become one file.

The plan depends on the results alone, not on the engine or its workers, so a second run finds the files of the first.
"""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from engines.core.index.catalog import read_manifest
from engines.core.index.sharding import name_hash
from engines.core.layout import check_folder, nearest_key
from engines.core.output import RunRecord, read_record
from engines.core.quality.rows import Rows, SplitRule, read_rows, training_part
from engines.core.sources import open_source

RULES = "10 nearest, plurality, confident joint of whole votes; 1"
"""Part of a check's version: changed whenever equal results would give another check."""

NEIGHBOURS = 10
"""Nearest rows that are kept of each, as many as cleanlab takes."""

COMPONENTS = (8, 16, 32, 64, 128)
"""Numbers of components whose accuracy is compared, up to the number published; and all features."""

ALL_FEATURES = 0
"""In the place of a number of components: the standardized features themselves."""

SAMPLE = 8_192
"""Rows, chosen by hash, whose neighbours are looked for in the other spaces; of fewer rows all."""

_BAND_ROWS = 2048


@dataclass(frozen=True, slots=True)
class PartRows:
    """A part of the results, the shard whose features it was projected from, and the number of its first row."""

    key: str
    shard: str
    first: int
    rows: int


@dataclass(frozen=True, slots=True)
class Space:
    """Where distances are measured, and between what.

    `components`: the first so many of the results, or ALL_FEATURES. `most_hash`: only rows whose name hashes to at most
    this are asked about. `training`: rows of this part are answers only, and all others questions only.
    """

    components: int
    most_hash: int | None = None
    training: str | None = None

    @property
    def name(self) -> str:
        """In the names of files."""
        kind = f"pca{self.components}" if self.components else "features"
        return f"{kind}-to-training" if self.training is not None else kind


@dataclass(frozen=True, slots=True)
class Band:
    """Questions of one item: those of the parts from `start` up to, but not including, `stop`; `rows` of them."""

    key: str
    space: Space
    start: int
    stop: int
    rows: int


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a check needs: `everything` is asked in the space of the results, `compared` in others, `to_training`
    between parts, if there are any. `bands` are those of all of them.
    """

    version: str
    output: str
    record: RunRecord
    rule: SplitRule
    rows: Rows
    training: str | None
    parts: tuple[PartRows, ...]
    everything: Space
    compared: tuple[Space, ...]
    to_training: Space | None
    bands: tuple[Band, ...]

    def bands_of(self, space: Space) -> list[Band]:
        """In the order of their rows."""
        return [band for band in self.bands if band.space == space]


def make_plan(output: str, split_depth: int | None = None) -> Plan:
    """The plan for what is published in `output`.

    Raises InputError when nothing is published, and when `split_depth` finds no parts.
    """
    record = read_record(output)
    rule = SplitRule(record.source, split_depth)
    rows = read_rows(output, record, rule)
    training = training_part(rows.splits, split_depth)
    facts = [RULES, record.model.fingerprint, [part.sha256 for part in record.parts], split_depth]
    version = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    parts = tuple(_parts(output, record))
    key = open_source(record.source).key
    hashes = [name_hash(key(path)) for path in rows.paths]
    # 64 bits: no two of them are equal.
    most_hash = max(heapq.nsmallest(SAMPLE, hashes)) if len(hashes) > SAMPLE else None
    everything = Space(record.components)
    widths = [width for width in COMPONENTS if width < record.components]
    compared = [Space(width, most_hash) for width in (*widths, ALL_FEATURES)]
    to_training = Space(record.components, training=training) if training is not None else None
    bands: list[Band] = []
    for space in (everything, *compared, *([to_training] if to_training else [])):
        asked = [
            (space.most_hash is None or value <= space.most_hash)
            and (space.training is None or split not in ("", space.training))
            for value, split in zip(hashes, rows.splits, strict=True)
        ]
        bands += _bands(version, space, [sum(asked[part.first : part.first + part.rows]) for part in parts])
    return Plan(
        version, output, record, rule, rows, training, parts, everything, tuple(compared), to_training, tuple(bands)
    )


def _parts(output: str, record: RunRecord) -> Iterator[PartRows]:
    shards = read_manifest(output, record.catalog).shards
    first = 0
    for part, shard in zip(record.parts, shards, strict=True):
        yield PartRows(part.key, shard.id, first, part.rows)
        first += part.rows


def _bands(version: str, space: Space, counts: Sequence[int]) -> Iterator[Band]:
    start, asked = 0, 0
    for number, count in enumerate(counts):
        asked += count
        if asked >= _BAND_ROWS or (asked and number == len(counts) - 1):
            key = nearest_key(check_folder(version), space.name, start)
            yield Band(key, space, start, number + 1, asked)
            start, asked = number + 1, 0
