"""Featurize one shard: read, decode, run the network, write features and rejects."""

from __future__ import annotations

import resource
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from engines.core import tables
from engines.core.errors import FruitsError, StageError
from engines.core.index.catalog import Shard, read_shard_entries
from engines.core.networks.canary import deviating_canary, measure_canary
from engines.core.networks.model import Canary, Model
from engines.core.output import features_key, rejects_key
from engines.core.rejects import LIMITED, QUARANTINED, REASONS, RejectedImageError
from engines.core.sources import Entry, open_source
from engines.core.stages.limits import PhotoLimits
from engines.core.stages.photos import DirectPhotos, IsolatedPhotos
from engines.core.storage import open_storage, read_ahead

READ_AHEAD = 32
"""Reads under way at once in one worker: 32 at 50 ms each are 640 images a second, more than a core featurizes."""


@dataclass(frozen=True, slots=True)
class ShardTask:
    """What a worker needs to find its shard; the model comes by broadcast.

    `arithmetic`: see `networks.canary`. `limits`: what one photo may take. `isolated`: each photo is taken in a process
    of its own. `quarantine`: a photo that ends that process is a reject; without, it fails the shard.
    """

    source: str
    output: str
    fingerprint: str
    shard: Shard
    arithmetic: str = "exact"
    limits: PhotoLimits = field(default_factory=PhotoLimits)
    isolated: bool = False
    quarantine: bool = True


@dataclass(frozen=True, slots=True)
class ShardReport:
    """What became of a shard's images. `rejected` counts them by reason; `peak_memory` is the worker's, in bytes.

    `deviating_canary`: the digest of the worker's canary, if it is not the model's. `limits`: what each photo was
    allowed to take.
    """

    shard: str
    listed: int
    featurized: int
    rejected: dict[str, int]
    peak_memory: int = 0
    deviating_canary: str = ""
    limits: PhotoLimits = field(default_factory=PhotoLimits)

    def outgrown(self, limits: PhotoLimits) -> bool:
        """Whether photos were rejected for what they take, and `limits` allow more than was allowed them."""
        more = limits.seconds > self.limits.seconds or limits.memory > self.limits.memory
        return more and not LIMITED.isdisjoint(self.rejected)


def isolated(task: ShardTask) -> ShardTask:
    """The task as it is tried again when a worker died over it."""
    return replace(task, isolated=True)


def featurize_shard(task: ShardTask, model: Model) -> ShardReport:
    """Write the features and the rejects of one shard; every image ends in exactly one of them.

    Rejects are written first and features last: the features file is the shard's commit, and carries its counts. A
    second attempt writes the same bytes to the same places. Raises StorageError or TransientError for what could not be
    read: that is never a reject; InputError when this CPU computes other bits than the model's canary, unless the task
    tolerates it: then the file says so. A photo that crashes or never returns ends this process; where the task is
    isolated, it is a reject, or without quarantine a StageError that names all of them.
    """
    network = model.network
    deviating = deviating_canary(model, task.arithmetic)
    source, output = open_source(task.source), open_storage(task.output)
    entries = read_shard_entries(task.output, task.shard)
    kept: list[Entry] = []
    rows = np.empty((len(entries), network.features), np.float32)
    rejects: list[tuple[str, str, str, str]] = []

    def read(entry: Entry) -> bytes | RejectedImageError:
        try:
            return source.read(entry)
        except RejectedImageError as reject:
            return reject

    with IsolatedPhotos(model, task.limits) if task.isolated else DirectPhotos(model, task.limits) as photos:
        for entry, content in zip(entries, read_ahead(read, entries, READ_AHEAD), strict=True):
            if isinstance(content, FruitsError):
                raise content
            try:
                if isinstance(content, RejectedImageError):
                    raise content
                rows[len(kept)] = photos.features(content)
            except RejectedImageError as reject:
                rejects.append((entry.path, _own_label(entry), reject.reason, reject.detail))
                continue
            except FruitsError as error:
                raise type(error)(f"{entry.path}: {error.message}", error.hint) from error
            except Exception as error:
                raise StageError(f"{entry.path}: {type(error).__name__}: {error}") from error
            kept.append(entry)
    if not task.quarantine:
        _check_harmless(rejects)

    features = network.grid.snap(rows[: len(kept)])
    reasons = dict(sorted(Counter(reason for _, _, reason, _ in rejects).items()))
    counts = {"listed": len(entries), "featurized": len(kept), "rejected": reasons}
    if deviating:
        counts["canary"] = deviating
    if task.limits != PhotoLimits() and not LIMITED.isdisjoint(reasons):
        counts["limits"] = asdict(task.limits)
    if rejects:
        columns = [list(column) for column in zip(*rejects, strict=True)]
        table = pa.table(columns, schema=tables.REJECTS)
        output.write(rejects_key(task.fingerprint, task.shard.id), tables.to_parquet(table))
    schema = tables.feature_rows(network.features)
    table = pa.table(
        [
            [entry.path for entry in kept],
            [_own_label(entry) for entry in kept],
            tables.to_lists(features, schema.field("features").type),
        ],
        schema=schema,
    )
    output.write(features_key(task.fingerprint, task.shard.id), tables.to_parquet(table, counts))
    return ShardReport(task.shard.id, len(entries), len(kept), reasons, peak_memory(), deviating, task.limits)


def _check_harmless(rejects: list[tuple[str, str, str, str]]) -> None:
    """Raise StageError that names the photos which ended the process that had them in hand."""
    harmful = [(path, reason) for path, _, reason, _ in rejects if reason in QUARANTINED]
    if harmful:
        photos = "; ".join(f"{path} ({reason}: {REASONS[reason]})" for path, reason in harmful)
        raise StageError(
            f"photos that end their worker: {photos}",
            "Remove them, or leave out --no-quarantine to have them rejected.",
        )


def _own_label(entry: Entry) -> str:
    # Not the run's: files of one name hold the same bytes, however a run labels their photos. Its results have that.
    return entry.label if entry.own_label is None else entry.own_label


def read_report(output: str, fingerprint: str, shard: str) -> ShardReport:
    """The report of a shard that is already there, from the footer of its features file."""
    with open_storage(output).open(features_key(fingerprint, shard)) as file:
        counts = tables.metadata_of(pq.read_schema(file))
    return ShardReport(
        shard,
        counts["listed"],
        counts["featurized"],
        counts["rejected"],
        deviating_canary=counts.get("canary", ""),
        limits=PhotoLimits(**counts.get("limits", {})),
    )


def quarantined(output: str, fingerprint: str, shard: str) -> list[tuple[str, str, str]]:
    """Path, reason and detail of the photos of a shard that ended the process which had them in hand."""
    rejects = tables.from_parquet(open_storage(output).read(rejects_key(fingerprint, shard))).to_pylist()
    return [(row["path"], row["reason"], row["detail"]) for row in rejects if row["reason"] in QUARANTINED]


def first_canary(_: int, model: Model) -> Canary:
    """On the first worker that runs a model: the canary that decides for all others."""
    return measure_canary(model)


def read_features(output: str, fingerprint: str, shard: str) -> pa.Table:
    """The features of a shard (tables.feature_rows)."""
    return tables.from_parquet(open_storage(output).read(features_key(fingerprint, shard)))


def peak_memory() -> int:
    """The largest resident memory this process has had, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
