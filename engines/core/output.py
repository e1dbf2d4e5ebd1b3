"""`run.json`: the record of the run whose results are published, and those of runs before."""

from __future__ import annotations

import contextlib
import hashlib
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from engines.core.errors import DamagedError, InputError
from engines.core.layout import FORMER, RECORD
from engines.core.proof.reading import check, json_of, sealed_json
from engines.core.storage import Storage, open_storage

FORMAT = 1
"""Counted up when a reader of before could not read a record."""

_PACKAGES = (
    "fruit-features",
    "ai-edge-litert",
    "tensorflow",
    "pillow",
    "numpy",
    "pyarrow",
    "dask",
    "pyspark",
    "prefect",
)


@dataclass(frozen=True, slots=True)
class Counts:
    """Images of a run. `left_out`: files that are none (`_by_case`: only by upper or lower case).

    `reused`: images whose features were there from a former run. `labels` counts classes.
    """

    listed: int
    featurized: int
    rejected: int
    projected: int
    reused: int
    labels: int
    left_out: int
    left_out_by_case: int


@dataclass(frozen=True, slots=True)
class Part:
    """One file of the results: its key in the output, its rows, and the sha256 of its bytes."""

    key: str
    rows: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """The model of a run: its fingerprint, and the recipe (see `engines.core.networks.model.make_recipe`)."""

    fingerprint: str
    recipe: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Where the bits of a run come from: the `canary` of its features, and how many images deviate from it.

    `tied`, `unsettled`: components whose order or rounding the features do not decide, see `Eigenpairs`.
    """

    canary: str
    deviating: int
    tied: tuple[int, ...]
    unsettled: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FrozenPca:
    """The PCA a run took in place of fitting one: its folder `pca` here, and the output `origin` it was taken from.

    `explained_variance`: of the photos it was fitted to; that of the run is of the run's photos.
    """

    pca: str
    origin: str
    explained_variance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """What `run.json` says. Locations are keys of the output, but for `source`; `timings` are seconds per stage."""

    source: str
    results: str
    counts: Counts
    rejected_by_reason: Mapping[str, int]
    components: int
    explained_variance: float
    components_for_95: int
    engine: str
    engine_details: Mapping[str, Any]
    parameters: Mapping[str, Any]
    model: ModelRecord
    catalog: str
    pca: str
    versions: Mapping[str, str]
    timings: Mapping[str, float]
    finished: str
    parts: tuple[Part, ...]
    arithmetic: Arithmetic | None = None
    """None for a run of before it was known."""
    left_out: Mapping[str, Mapping[str, int]] | None = None
    """Files that are no photos of the run, see `engines.core.index.selection.LeftOut`; None as above."""
    splits: Mapping[str, int] = field(default_factory=dict)
    """Images listed by split, if there are any."""
    remarks: tuple[str, ...] = ()
    """What a person should know of the photos, in sentences."""
    frozen_pca: FrozenPca | None = None
    """None for a run that fitted its own."""

    def to_json(self) -> dict[str, Any]:
        """The record as `run.json` has it."""
        plain = {each.name: getattr(self, each.name) for each in fields(self)}
        plain["counts"] = asdict(self.counts)
        plain["model"] = {"fingerprint": self.model.fingerprint, **self.model.recipe}
        plain["parts"] = [asdict(part) for part in self.parts]
        plain["remarks"] = list(self.remarks)
        plain["frozen_pca"] = self.frozen_pca and asdict(self.frozen_pca)
        # As records of before, which knew none of these.
        for name, unknown in (("left_out", None), ("splits", {}), ("remarks", []), ("frozen_pca", None)):
            if plain[name] == unknown:
                del plain[name]
        if self.arithmetic is None:
            del plain["arithmetic"]
        else:
            plain["arithmetic"] = {name: _listed(value) for name, value in asdict(self.arithmetic).items()}
        return {"format": FORMAT, **plain}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> RunRecord:
        """The inverse of `to_json`; what a later version added is left out. Raises KeyError, TypeError, ValueError."""
        optional = ("arithmetic", "left_out", "splits", "remarks", "frozen_pca")
        values = {
            each.name: plain[each.name] for each in fields(cls) if each.name not in optional or each.name in plain
        }
        recipe = dict(plain["model"])
        values["model"] = ModelRecord(recipe.pop("fingerprint"), recipe)
        values["counts"] = Counts(**{each.name: plain["counts"][each.name] for each in fields(Counts)})
        values["remarks"] = tuple(plain.get("remarks", ()))
        values["parts"] = tuple(Part(part["key"], part["rows"], part["sha256"]) for part in plain["parts"])
        if "frozen_pca" in plain:
            values["frozen_pca"] = FrozenPca(
                **{each.name: plain["frozen_pca"][each.name] for each in fields(FrozenPca)}
            )
        if "arithmetic" in plain:
            arithmetic = {each.name: plain["arithmetic"][each.name] for each in fields(Arithmetic)}
            lists = {name: tuple(arithmetic[name]) for name in ("tied", "unsettled")}
            values["arithmetic"] = Arithmetic(**(arithmetic | lists))
        return cls(**values)


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def publish(output: str, record: RunRecord) -> None:
    """Replace run.json atomically: from here on readers see the results that `record` names.

    The record of other results is kept, see `former_records`; that of another output is not.
    """
    storage = open_storage(output)
    if storage.exists(RECORD):
        content = storage.read(RECORD)
        with contextlib.suppress(InputError):  # one that is damaged tells nobody anything
            former = _record_of(storage, RECORD, content)
            if former.results != record.results and _is_of(storage, former):
                storage.write(f"{FORMER}/{hashlib.sha256(content).hexdigest()[:20]}.json", content)
    storage.write(RECORD, sealed_json(record.to_json(), RECORD))


def _is_of(storage: Storage, record: RunRecord) -> bool:
    """Whether the results that a record names are in this output."""
    return {part.key for part in record.parts} <= {item.key for item in storage.list(record.results)}


def former_records(output: str) -> list[tuple[str, RunRecord]]:
    """The records of former results by their keys, the newest first; what cannot be read of them is left out.

    Records of the results that are published, and of results a newer record names too, are none of these.
    """
    storage = open_storage(output)
    read: list[tuple[str, RunRecord]] = []
    for item in storage.list(FORMER):
        try:
            read.append((item.key, _record_of(storage, item.key, storage.read(item.key))))
        except InputError:
            continue  # damaged, or of a later version: it keeps nothing
    seen = {read_record(output).results}
    found = []
    for key, record in sorted(read, key=lambda pair: pair[1].finished, reverse=True):
        if record.results not in seen:
            seen.add(record.results)
            found.append((key, record))
    return found


def read_record(output: str) -> RunRecord:
    """The published record. Raises InputError when there is none, it is damaged, or of a later version."""
    storage = open_storage(output)
    if not storage.exists(RECORD):
        raise InputError(f"{storage.url} has no published results", "Run `fruits run SOURCE OUTPUT` first.")
    return _record_of(storage, RECORD, storage.read(RECORD))


def _record_of(storage: Storage, key: str, content: bytes) -> RunRecord:
    again = "Run `fruits run` again to replace it."
    try:
        check(storage, key, content, RECORD)
        plain = json_of(storage, key, content)
    except DamagedError as error:
        raise InputError(error.message, again) from error
    if plain.get("format") != FORMAT:
        raise InputError(f"{storage.uri(key)} has format {plain.get('format')}, known here is {FORMAT}", "Upgrade.")
    try:
        return RunRecord.from_json(plain)
    except KeyError as error:
        raise InputError(f"{storage.uri(key)} is damaged: {error} is missing", again) from error
    except (TypeError, ValueError) as error:
        raise InputError(f"{storage.uri(key)} is damaged: {error}", again) from error


def package_versions() -> dict[str, str]:
    """Installed versions of Python and of the packages that take part."""
    from importlib.metadata import PackageNotFoundError, version

    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue  # an engine that is not installed takes no part
    return versions
