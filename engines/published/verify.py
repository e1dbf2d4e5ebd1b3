"""Everything that is published, read and proven: each file is held to its seal, its name, its record and the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from engines.core.errors import DamagedError, Finding, FruitsError, InputError
from engines.core.index.catalog import Catalog, read_manifest
from engines.core.layout import (
    CHECKS,
    RECORD,
    REJECTS,
    REPORT,
    canary_key,
    catalog_part_digest,
    features_key,
    network_key,
    pca_key,
    recipe_key,
    rejects_key,
    spectrum_key,
)
from engines.core.networks.model import read_model
from engines.core.output import Part, RunRecord, read_record
from engines.core.proof.reading import check_end, damaged, json_of, read_named, read_proven, table_of
from engines.core.reduce.kept import prove_pca, read_pca
from engines.core.stages.project import read_part
from engines.core.stages.shard_files import read_report
from engines.core.storage import Storage, open_storage, read_ahead

_FILES_AHEAD = 8

RUN_AGAIN = "Run `fruits run` again with the options of before: it is made again."
CHECK_AGAIN = "Run `fruits check` again after removing its folder."
REMOVE = "Remove it: readers of the folder read it too."


@dataclass(frozen=True, slots=True)
class Found:
    """A file that is not what it has to be: its key, what is wrong, in words too, and what to do."""

    key: str
    finding: Finding
    message: str
    remedy: str


@dataclass(slots=True)
class Verification:
    """What `verify` found. `files` were read; `unsealed` of them are of before there were seals: they can be read."""

    files: int = 0
    unsealed: int = 0
    found: list[Found] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Check:
    """One file to prove: `prove` returns whether it carries a proof, and raises DamagedError."""

    key: str
    prove: Callable[[], bool]
    remedy: str = RUN_AGAIN


def untold(_done: int, _total: int) -> None:
    """Progress that nobody watches."""


def verify(output: str, on_progress: Callable[[int, int], None] = untold) -> Verification:
    """Read every file of what is published below `output`; `on_progress(done, total)`. Memory: some files.

    Raises InputError when nothing is published there, and what a storage raises that cannot be read at all.
    """
    storage = open_storage(output)
    result = Verification()
    try:
        record = read_record(output)
    except InputError as error:
        if not storage.exists(RECORD):
            raise
        result.files, result.found = 1, [Found(RECORD, "corrupt", error.message, RUN_AGAIN)]
        return result
    checks = list(_checks(storage, record))
    result.files = len({check.key for check in checks})
    on_progress(0, len(checks))
    for number, proven in enumerate(read_ahead(lambda check: check.prove(), checks, _FILES_AHEAD), start=1):
        check = checks[number - 1]
        if isinstance(proven, DamagedError):
            if proven.message not in {found.message for found in result.found}:  # a file may be held to two things
                result.found.append(Found(check.key, proven.finding, proven.message, check.remedy))
        elif isinstance(proven, FruitsError):
            raise proven
        else:
            result.unsealed += not proven
        on_progress(number, len(checks))
    return result


def _checks(storage: Storage, record: RunRecord) -> Iterator[_Check]:
    output, fingerprint = storage.url, record.model.fingerprint
    for key in (RECORD, recipe_key(fingerprint), spectrum_key(record.pca)):
        yield _Check(key, lambda key=key: _any(storage, key))  # type: ignore[misc]
    yield _Check(pca_key(record.pca), lambda: prove_pca(output, record.pca))
    yield _Check(REPORT, lambda: _report(storage))
    yield _Check(network_key(fingerprint), lambda: bool(read_model(output, fingerprint)))
    if storage.exists(canary_key(fingerprint)):
        yield _Check(canary_key(fingerprint), lambda: _any(storage, canary_key(fingerprint)))
    yield _Check(pca_key(record.pca), lambda: bool(read_pca(output, record.pca)))
    if frozen := record.frozen_pca:
        yield _Check(pca_key(frozen.pca), lambda: bool(read_pca(output, frozen.pca)))
    yield from _results(storage, record)
    for item in storage.list(CHECKS):
        yield _Check(item.key, lambda key=item.key: _any(storage, key), CHECK_AGAIN)  # type: ignore[misc]
    yield _Check(record.catalog, lambda: _any(storage, record.catalog))
    yield _Check(record.catalog, lambda: bool(read_manifest(output, record.catalog)))
    try:
        catalog = read_manifest(output, record.catalog)
    except DamagedError:
        return  # which its own check says; the shards are not known then
    yield from _of_catalog(storage, fingerprint, catalog)


def _of_catalog(storage: Storage, fingerprint: str, catalog: Catalog) -> Iterator[_Check]:
    for part in dict.fromkeys(shard.part for shard in catalog.shards):
        yield _Check(part, lambda part=part: bool(read_named(storage, part, catalog_part_digest(part))))  # type: ignore[misc]
    rejects = {item.key for item in storage.list(REJECTS)}
    for shard in catalog.shards:
        if (key := rejects_key(fingerprint, shard.id)) in rejects:
            yield _Check(key, lambda key=key: _any(storage, key))  # type: ignore[misc]
        key = features_key(fingerprint, shard.id)

        def features(key: str = key) -> bool:
            proven = read_proven(storage, key)
            table_of(storage, key, proven.content)
            return proven.sealed

        yield _Check(key, features)
        # Its counts, and the number of its rejects.
        yield _Check(
            key,
            lambda shard=shard: bool(read_report(storage.url, fingerprint, shard)),  # type: ignore[misc]
        )


def _results(storage: Storage, record: RunRecord) -> Iterator[_Check]:
    def part(expected: Part) -> bool:
        found = read_part(storage.url, expected.key, expected.sha256)
        if found != expected:
            raise damaged(storage, expected.key, "corrupt", "its bytes are not those that were published")
        return True

    for each in record.parts:
        yield _Check(each.key, lambda each=each: part(each))  # type: ignore[misc]
    known = {each.key for each in record.parts}
    for item in storage.list(record.results):
        if item.key not in known and not item.key.rpartition("/")[2].startswith((".", "_")):
            yield _Check(item.key, lambda key=item.key: _stray(storage, key), REMOVE)  # type: ignore[misc]


def _stray(storage: Storage, key: str) -> bool:
    raise damaged(storage, key, "foreign", "it is no part of the published results")


def _report(storage: Storage) -> bool:
    proven = read_proven(storage, REPORT)
    if not proven.sealed:
        check_end(storage, REPORT, proven.content)
    return proven.sealed


def _any(storage: Storage, key: str) -> bool:
    proven = read_proven(storage, key)
    if key.endswith(".parquet"):
        table_of(storage, key, proven.content)
    elif key.endswith(".json"):
        json_of(storage, key, proven.content)
    return proven.sealed
