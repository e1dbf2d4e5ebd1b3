"""The figures of a check, as `quality.json` has them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from engines.core.errors import InputError
from engines.core.layout import CHECKS, check_folder, quality_key
from engines.core.output import RunRecord
from engines.core.proof.reading import read_json, sealed_json
from engines.core.quality.probe import Probe
from engines.core.quality.votes import Accuracy, ClassAccuracy, Confusion
from engines.core.storage import open_storage

FORMAT = 1

ISSUES = {
    "label": "their neighbours are sure of another class",
    "outlier": "they lie far from all others",
    "near_duplicate": "another photo is almost the same",
    "exact_duplicate": "another photo is the same file",
    "class_imbalance": "their class has less than a tenth of an even share",
    "leakage": "outside of the training part, with a near duplicate in it",
}
"""Every kind of issue, with its text for people: so many photos, because ..."""


@dataclass(frozen=True, slots=True)
class SpaceQuality:
    """How well the first `components` tell the classes; `components` 0: all features. None where it cannot be told."""

    components: int
    neighbours: Accuracy | None
    probe: Probe | None


@dataclass(frozen=True, slots=True)
class SplitQuality:
    """A part of the photos held against the training part.

    `leaked`: its photos that have a near duplicate there. `neighbours`, `probe`: trained there, asked about this part.
    `frechet`: the distance of their moments in standardized features, see `engines.core.quality.drift`.
    """

    split: str
    rows: int
    leaked: int
    neighbours: Accuracy | None
    probe: Probe | None
    frechet: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """The figures of the check `check` of the results in the folder `results`.

    `issues` counts photos by the kinds of ISSUES. `spaces`: the numbers of components that are compared, all features
    last. `groups` counts groups of near and of exact duplicates. `unread`: photos at the same place as another, whose
    bytes could not be compared. `training`: the part the `splits` are held against. `facts` are of the process: engine,
    time and seconds.
    """

    check: str
    results: str
    rows: int
    labelled: int
    components: int
    neighbours: int
    accuracy: Accuracy | None
    classes: tuple[ClassAccuracy, ...]
    confusions: tuple[Confusion, ...]
    spaces: tuple[SpaceQuality, ...]
    issues: Mapping[str, int]
    groups: Mapping[str, int]
    near_duplicate_radius: float
    unread: int
    training: str | None
    splits: tuple[SplitQuality, ...]
    facts: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """As `quality.json` has it."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Quality:
        """The inverse of `to_json`. Raises KeyError or TypeError for what is none."""
        values = {name: plain[name] for name in cls.__dataclass_fields__}
        values["accuracy"] = _accuracy(plain["accuracy"])
        values["classes"] = tuple(ClassAccuracy(**each) for each in plain["classes"])
        values["confusions"] = tuple(Confusion(**each) for each in plain["confusions"])
        values["spaces"] = tuple(
            SpaceQuality(each["components"], _accuracy(each["neighbours"]), _probe(each["probe"]))
            for each in plain["spaces"]
        )
        values["splits"] = tuple(
            SplitQuality(**{**each, "neighbours": _accuracy(each["neighbours"]), "probe": _probe(each["probe"])})
            for each in plain["splits"]
        )
        return cls(**values)


def _accuracy(plain: Mapping[str, Any] | None) -> Accuracy | None:
    return None if plain is None else Accuracy(**plain)


def _probe(plain: Mapping[str, Any] | None) -> Probe | None:
    return None if plain is None else Probe(**plain)


def write_quality(output: str, quality: Quality) -> None:
    """Put `quality.json` in place: the check's commit."""
    key = quality_key(check_folder(quality.check))
    open_storage(output).write(key, sealed_json(quality.to_json(), key))


def read_quality(output: str, check: str) -> Quality:
    """The figures of the check of this version. Raises InputError where they cannot be read."""
    storage = open_storage(output)
    key = quality_key(check_folder(check))
    try:
        plain = read_json(storage, key)
        if plain["format"] != FORMAT:
            raise InputError(f"{storage.uri(key)} has format {plain['format']}, known here is {FORMAT}", "Upgrade.")
        return Quality.from_json(plain)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{storage.uri(key)} is damaged: {error!r}", "Run `fruits check` again.") from error


def latest_quality(output: str, record: RunRecord) -> Quality | None:
    """The newest check of the published results; None when they were not checked. Raises as `read_quality`."""
    return _newest(each for check in _checks(output) if (each := read_quality(output, check)).results == record.results)


def former_quality(output: str, check: str) -> Quality | None:
    """The newest check but this one, of whatever results; None where there is none that can be read."""

    def others() -> Iterator[Quality]:
        for other in _checks(output):
            if other != check:
                # Figures of before are there to compare with: damaged ones must not keep anybody from new ones.
                with contextlib.suppress(InputError):
                    yield read_quality(output, other)

    return _newest(others())


def _newest(found: Iterable[Quality]) -> Quality | None:
    return max(found, key=lambda each: str(each.facts.get("finished", "")), default=None)


def _checks(output: str) -> list[str]:
    """The versions of all finished checks of an output."""
    keys = [item.key for item in open_storage(output).list(CHECKS)]
    return [key.split("/")[-2] for key in keys if key == quality_key(check_folder(key.split("/")[-2]))]
