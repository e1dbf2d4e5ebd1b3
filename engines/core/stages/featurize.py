"""Featurize one shard, or a piece of it: read, decode, run the network, write features and rejects."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from engines.core.errors import FruitsError, StageError
from engines.core.index.catalog import Shard, read_shard_entries
from engines.core.networks.canary import deviating_canary, measure_canary
from engines.core.networks.model import Canary, Model
from engines.core.rejects import QUARANTINED, REASONS, RejectedImageError
from engines.core.sources import Entry, Source, open_source
from engines.core.stages.limits import PhotoLimits
from engines.core.stages.photos import DirectPhotos, IsolatedPhotos
from engines.core.stages.shard_files import (
    ShardReport,
    digest_of,
    own_label,
    photos_digest,
    remove_rejects,
    write_shard,
)
from engines.core.storage import read_as_completed

READ_AHEAD = 32
"""Reads under way at once in one worker: 32 at 50 ms each are 640 images a second, more than a core featurizes."""

HELD_BYTES = 32_000_000
"""So much of a shard may be in memory: a read that is slow, or tried again, then holds up no other."""


@dataclass(frozen=True, slots=True)
class ShardTask:
    """What a worker needs to find its shard; the model comes by broadcast.

    `arithmetic`: see `networks.canary`. `limits`: what one photo may take. `isolated`: each photo is taken in a process
    of its own. `quarantine`: a photo that ends that process is a reject; without, it fails the shard. `again`: there
    may be files of the shard already, which are to be replaced. `piece`: the first photo and the one behind the last,
    of a task that computes these alone and writes nothing.
    """

    source: str
    output: str
    fingerprint: str
    shard: Shard
    arithmetic: str = "exact"
    limits: PhotoLimits = field(default_factory=PhotoLimits)
    isolated: bool = False
    quarantine: bool = True
    again: bool = False
    piece: tuple[int, int] | None = None

    @property
    def photos(self) -> int:
        """How many photos it computes."""
        return self.shard.count if self.piece is None else self.piece[1] - self.piece[0]


@dataclass(frozen=True, slots=True)
class ShardPiece:
    """What became of photos of a shard, from its photo number `first` on; see `write_pieces`.

    `features`: float32[len(kept), d], on the network's grid. `rejects`: path, label, reason, detail. `digests`: of each
    photo, see `digest_of`. `deviating_canary`, `peak_memory`: see ShardReport.
    """

    first: int
    kept: list[Entry]
    features: npt.NDArray[np.float32]
    rejects: list[tuple[str, str, str, str]]
    digests: list[bytes]
    deviating_canary: str
    peak_memory: int


def isolated(task: ShardTask) -> ShardTask:
    """The task as it is tried again when a worker died over it."""
    return replace(task, isolated=True)


def featurize_shard(task: ShardTask, model: Model) -> ShardReport | ShardPiece:
    """Write the features and the rejects of one shard; every image ends in exactly one of them.

    A piece returns them, for `write_pieces` to write when all pieces of the shard are there. A second attempt writes
    the same bytes to the same places. Raises StorageError or TransientError for what could not be read: that is never a
    reject; InputError when this CPU computes other bits than the model's canary, unless the task tolerates it: then the
    file says so. A photo that crashes or never returns ends this process; where the task is isolated, it is a reject,
    or without quarantine a StageError that names all of them.
    """
    computed = _compute(task, model)
    return write_pieces(task, [computed]) if task.piece is None else computed


def write_pieces(task: ShardTask, pieces: Sequence[ShardPiece]) -> ShardReport:
    """Write the shard of a task from all its pieces, in any order: the bytes are those of the shard in one piece."""
    pieces = sorted(pieces, key=lambda piece: piece.first)
    rejects = [reject for piece in pieces for reject in piece.rejects]
    if not task.quarantine:
        _check_harmless(rejects)
    if task.again:
        remove_rejects(task.output, task.fingerprint, task.shard)
    report = write_shard(
        task.output,
        task.fingerprint,
        task.shard,
        kept=[entry for piece in pieces for entry in piece.kept],
        features=pieces[0].features if len(pieces) == 1 else np.concatenate([piece.features for piece in pieces]),
        rejects=rejects,
        photos=photos_digest([digest for piece in pieces for digest in piece.digests]),
        limits=task.limits,
        deviating_canary=pieces[0].deviating_canary,
    )
    return replace(report, peak_memory=max(piece.peak_memory for piece in pieces))


def _compute(task: ShardTask, model: Model) -> ShardPiece:
    """What becomes of each photo of the task."""
    network = model.network
    deviating = deviating_canary(model, task.arithmetic)
    first, end = task.piece or (0, task.shard.count)
    entries = read_shard_entries(task.output, task.shard)[first:end]
    rows = np.empty((len(entries), network.features), np.float32)
    rejected: dict[int, RejectedImageError] = {}
    digests = [b""] * len(entries)
    with IsolatedPhotos(model, task.limits) if task.isolated else DirectPhotos(model, task.limits) as photos:
        for position, content in read_contents(open_source(task.source), entries):
            digests[position] = digest_of(content)
            try:
                if isinstance(content, RejectedImageError):
                    raise content
                rows[position] = photos.features(content)
            except RejectedImageError as reject:
                rejected[position] = reject
            except FruitsError:
                raise
            except Exception as error:
                raise StageError(f"{entries[position].path}: {type(error).__name__}: {error}") from error
    kept = [position for position in range(len(entries)) if position not in rejected]
    return ShardPiece(
        first,
        [entries[position] for position in kept],
        network.grid.snap(rows[kept] if rejected else rows),
        [_reject_row(entries[position], rejected[position]) for position in sorted(rejected)],
        digests,
        deviating,
        peak_memory(),
    )


def _reject_row(entry: Entry, reject: RejectedImageError) -> tuple[str, str, str, str]:
    return entry.path, own_label(entry), reject.reason, reject.detail


def read_contents(source: Source, entries: list[Entry]) -> Iterator[tuple[int, bytes | RejectedImageError]]:
    """The position of each photo and its bytes, or why there are none, in the order in which they arrive.

    Raises StorageError and TransientError.
    """

    def read(entry: Entry) -> bytes | RejectedImageError:
        try:
            return source.read(entry)
        except RejectedImageError as reject:
            return reject

    largest = max((entry.size for entry in entries), default=0)
    # Not every source knows how large its photos are.
    held = HELD_BYTES // largest if largest and all(entry.size for entry in entries) else READ_AHEAD
    for position, content in read_as_completed(read, entries, READ_AHEAD, held):
        if isinstance(content, FruitsError):
            raise content
        yield position, content


def read_photos_digest(source: Source, entries: list[Entry]) -> str:
    """The digest of all photos, in the order of the entries (see `photos_digest`). Reads all of them."""
    digests = [b""] * len(entries)
    for position, content in read_contents(source, entries):
        digests[position] = digest_of(content)
    return photos_digest(digests)


@dataclass(frozen=True, slots=True)
class ContentTask:
    """A shard that is there, and the digest of the photos it was made of."""

    source: str
    output: str
    shard: Shard
    photos: str


def same_content(task: ContentTask, _: None) -> bool:
    """Whether the photos of a shard are, byte for byte, those its features were made of. Reads all of them."""
    entries = read_shard_entries(task.output, task.shard)
    return read_photos_digest(open_source(task.source), entries) == task.photos


def _check_harmless(rejects: list[tuple[str, str, str, str]]) -> None:
    """Raise StageError that names the photos which ended the process that had them in hand."""
    harmful = [(path, reason) for path, _, reason, _ in rejects if reason in QUARANTINED]
    if harmful:
        photos = "; ".join(f"{path} ({reason}: {REASONS[reason]})" for path, reason in harmful)
        raise StageError(
            f"photos that end their worker: {photos}",
            "Remove them, or leave out --no-quarantine to have them rejected.",
        )


def first_canary(_: int, model: Model) -> Canary:
    """On the first worker that runs a model: the canary that decides for all others."""
    return measure_canary(model)


def peak_memory() -> int:
    """The largest resident memory this process has had, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
