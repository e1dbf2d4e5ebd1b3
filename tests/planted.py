"""Photos of which some are under a wrong label, and some are there twice: what a check has to find."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa


@dataclass(frozen=True)
class Planted:
    """Photos of some classes in `folder`, a share of them under a wrong label, and so many `copies`."""

    source: Path
    swapped: dict[str, str]
    copied: dict[str, str]


def plant(photos: Path, folder: Path, *, swapped: float, copies: int, classes: int, per_class: int) -> Planted:
    """Photos of some classes in `folder`: a share `swapped` under a wrong label, `copies` of them twice."""
    chance = random.Random(13)
    names = sorted(path.name for path in photos.iterdir() if path.is_dir())[:classes]
    files = [(name, path) for name in names for path in sorted((photos / name).glob("*.jpg"))[:per_class]]
    moved = set(chance.sample(range(len(files)), round(swapped * len(files))))
    twice = set(chance.sample(sorted(set(range(len(files))) - moved), copies))
    planted = Planted(folder, {}, {})
    for number, (name, path) in enumerate(files):
        label = chance.choice([other for other in names if other != name]) if number in moved else name
        target = folder / label / f"{name} {path.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
        if number in moved:
            planted.swapped[str(target)] = name
        if number in twice:
            copy = target.with_name(f"again {target.name}")
            copy.write_bytes(path.read_bytes())
            planted.copied[str(target)] = str(copy)
    return planted


@dataclass(frozen=True)
class Found:
    """How much of what was planted was found, and how much of what was found was planted."""

    precision: float
    recall: float

    @classmethod
    def of(cls, flagged: set[str], planted: set[str]) -> Found:
        hits = len(flagged & planted)
        return cls(hits / len(flagged) if flagged else 1.0, hits / len(planted))


def flagged(issues: pa.Table, issue: str) -> set[str]:
    """The paths of the photos with this issue."""
    return set(issues["path"].filter(issues[f"is_{issue}_issue"]).to_pylist())


def shares(labels: list[str], neighbours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes of the labels, and each row's share of votes for each class, as cleanlab takes them."""
    names = sorted(set(labels))
    codes = np.array([names.index(label) for label in labels])
    votes = (codes[neighbours][:, :, np.newaxis] == np.arange(len(names))).sum(axis=1)
    return codes, votes / neighbours.shape[1]
