"""The files of one shard: its features and its rejects, written by featurize, read by all that follows.

Rejects are written first and features last: the features file is the shard's commit, and its footer has the counts.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from engines.core import tables
from engines.core.errors import DamagedError, GoneError
from engines.core.index.catalog import Shard
from engines.core.layout import features_key, rejects_key
from engines.core.proof.reading import damaged, parsed, read_proven, read_table, sealed_table
from engines.core.proof.seal import BrokenSealError, seal_of
from engines.core.rejects import LIMITED, PASSING, QUARANTINED, RejectedImageError
from engines.core.sources import Entry
from engines.core.stages.limits import PhotoLimits
from engines.core.storage import Storage, open_storage


@dataclass(frozen=True, slots=True)
class ShardReport:
    """What became of a shard's images. `rejected` counts them by reason; `peak_memory` is the worker's, in bytes.

    `deviating_canary`: the digest of the worker's canary, if it is not the model's. `photos`: the digest of the bytes
    that were read, empty for a shard of before it was kept. `limits`: what each photo was allowed to take. `sealed`:
    whether its file carries a seal. `content`: what its features are of, see `content_digest`; empty as `photos`.
    """

    shard: str
    listed: int
    featurized: int
    rejected: dict[str, int]
    peak_memory: int = 0
    deviating_canary: str = ""
    photos: str = ""
    content: str = ""
    limits: PhotoLimits = field(default_factory=PhotoLimits)
    sealed: bool = True

    def outgrown(self, limits: PhotoLimits) -> bool:
        """Whether photos were rejected for what they take, and `limits` allow more than was allowed them."""
        more = limits.seconds > self.limits.seconds or limits.memory > self.limits.memory
        return more and not LIMITED.isdisjoint(self.rejected)

    @property
    def passing(self) -> bool:
        """Whether some images were rejected for what may be another way next time."""
        return not PASSING.isdisjoint(self.rejected)


def digest_of(content: bytes | RejectedImageError) -> bytes:
    """What one photo adds to `photos_digest`: 32 bytes for its content, or for why there is none."""
    return hashlib.sha256(content if isinstance(content, bytes) else content.reason.encode()).digest()


def photos_digest(digests: Sequence[bytes]) -> str:
    """The digest of all photos of a shard, by `digest_of` each of them in order."""
    return hashlib.sha256(b"".join(digests)).hexdigest()


def content_digest(photos: str, rejects: Sequence[tuple[str, str, str, str]]) -> str:
    """What the features of a shard are of: the bytes of its photos, and which of them have none.

    Neither decides alone: a photo may be rejected for the time it took.
    """
    return hashlib.sha256(json.dumps([photos, [path for path, _, _, _ in rejects]]).encode()).hexdigest()


def write_shard(
    output: str,
    fingerprint: str,
    shard: Shard,
    *,
    kept: Sequence[Entry],
    features: npt.NDArray[np.float32],
    rejects: Sequence[tuple[str, str, str, str]],
    photos: str,
    limits: PhotoLimits,
    deviating_canary: str = "",
) -> ShardReport:
    """Write the files of a shard: float32[len(kept), d] `features`, and `rejects` (path, label, reason, detail).

    Equal arguments write the same bytes to the same places, whatever was there.
    """
    storage = open_storage(output)
    reasons = dict(sorted(Counter(reason for _, _, reason, _ in rejects).items()))
    content = content_digest(photos, rejects)
    facts: dict[str, Any] = {
        "listed": shard.count,
        "featurized": len(kept),
        "rejected": reasons,
        "photos": photos,
        "content": content,
    }
    if deviating_canary:
        facts["canary"] = deviating_canary
    if limits != PhotoLimits() and not LIMITED.isdisjoint(reasons):
        facts["limits"] = asdict(limits)
    if rejects:
        columns = [list(column) for column in zip(*rejects, strict=True)]
        key = rejects_key(fingerprint, shard.id)
        storage.write(key, sealed_table(pa.table(columns, schema=tables.REJECTS), key))
    schema = tables.feature_rows(features.shape[1])
    columns = [
        [entry.path for entry in kept],
        [own_label(entry) for entry in kept],
        tables.to_lists(features, schema.field("features").type),
    ]
    key = features_key(fingerprint, shard.id)
    storage.write(key, sealed_table(pa.table(columns, schema=schema), key, facts))
    return ShardReport(
        shard.id,
        shard.count,
        len(kept),
        reasons,
        deviating_canary=deviating_canary,
        photos=photos,
        content=content,
        limits=limits,
    )


def own_label(entry: Entry) -> str:
    """The label for the files of a shard: not the run's, but the source's own.

    Files of one name hold the same bytes, however a run labels their photos. Its results have that.
    """
    return entry.label if entry.own_label is None else entry.own_label


def remove_rejects(output: str, fingerprint: str, shard: Shard) -> None:
    """Remove the rejects that a former attempt left, before a shard is done again: this time there may be none."""
    open_storage(output).delete(rejects_key(fingerprint, shard.id))


def read_report(output: str, fingerprint: str, shard: Shard) -> ShardReport:
    """The report of a shard that is already there, from the footer of its features file.

    Raises DamagedError, which names the shard, for a file that is cut, of another shard, or at odds with itself or with
    the rejects. The features themselves are proven when they are read.
    """
    with of_shard(shard.id):
        return _read_report(open_storage(output), fingerprint, shard)


def read_features(output: str, fingerprint: str, shard: str) -> pa.Table:
    """The features of a shard (tables.feature_rows). Raises DamagedError, which names the shard."""
    with of_shard(shard):
        return read_table(open_storage(output), features_key(fingerprint, shard))


def quarantined(output: str, fingerprint: str, shard: str) -> list[tuple[str, str, str]]:
    """Path, reason and detail of the photos of a shard that ended the process which had them in hand."""
    rejects = read_table(open_storage(output), rejects_key(fingerprint, shard)).to_pylist()
    return [(row["path"], row["reason"], row["detail"]) for row in rejects if row["reason"] in QUARANTINED]


def prove_shard(output: str, fingerprint: str, shard: str) -> None:
    """Hold the features of a shard to their seal, without making a table of them. Raises as `read_features`."""
    with of_shard(shard):
        read_proven(open_storage(output), features_key(fingerprint, shard))


@contextlib.contextmanager
def of_shard(shard: str) -> Iterator[None]:
    """A DamagedError within this context says that this shard has to be done again."""
    try:
        yield
    except DamagedError as error:
        raise DamagedError(error.message, error.hint, error.finding, (shard,)) from error


def _read_report(storage: Storage, fingerprint: str, shard: Shard) -> ShardReport:
    key = features_key(fingerprint, shard.id)
    metadata = _footer(storage, key)
    seal_text = (metadata.metadata or {}).get(tables.SEAL_KEY)
    seal = None
    if seal_text is not None:
        try:
            seal = seal_of(seal_text)
        except BrokenSealError as error:
            raise damaged(storage, key, "corrupt", str(error)) from error
    if seal is not None and seal.key != key:
        raise damaged(storage, key, "foreign", f"it is {seal.key}")
    try:
        facts = tables.metadata_of(metadata.schema.to_arrow_schema())
        report = ShardReport(
            shard.id,
            facts["listed"],
            facts["featurized"],
            facts["rejected"],
            deviating_canary=facts.get("canary", ""),
            photos=facts.get("photos", ""),
            content=facts.get("content", ""),
            limits=PhotoLimits(**facts.get("limits", {})),
            sealed=seal is not None,
        )
        rejected = sum(report.rejected.values())
        agree = report.listed == shard.count == report.featurized + rejected and metadata.num_rows == report.featurized
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged(storage, key, "corrupt", f"{type(error).__name__}: {error}") from error
    if not agree:
        raise damaged(storage, key, "corrupt", "its counts are not those of its shard")
    if rejected:
        key = rejects_key(fingerprint, shard.id)
        if read_table(storage, key).num_rows != rejected:
            raise damaged(storage, key, "foreign", "it has not as many rows as the shard has rejects")
    return report


def _footer(storage: Storage, key: str) -> Any:
    try:
        with storage.open(key) as file:
            return parsed(storage, key, lambda _: pq.read_metadata(file), b"PAR1")
    except GoneError as error:
        raise damaged(storage, key, "missing") from error
    except DamagedError:
        read_table(storage, key)  # which says more exactly what is wrong with it
        raise
