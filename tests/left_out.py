"""Photos that are left out of a run, and named by their nearest neighbours in it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from engines.core.networks.model import Model
from engines.published import load_model
from engines.published.rows import read_rows, similar
from tests.published import publish_run


@dataclass(frozen=True)
class Named:
    """How many photos were left out, and which of them were named wrongly: (path, what was said)."""

    photos: int
    wrong: list[tuple[str, str]]

    @property
    def accuracy(self) -> float:
        return 1 - len(self.wrong) / self.photos


def name_left_out(
    photos: Path, folder: Path, model: Model, *, left_out: int, kept: int | None = None, classes: int | None = None
) -> Named:
    """A run over photos of each class, and `left_out` others (all classes alike) named by the nearest of them.

    `kept`: at most so many photos of each class are in the run, and `classes` so many classes; all by default.
    """
    folders = sorted(path for path in photos.iterdir() if path.is_dir())[:classes]
    asked: list[Path] = []
    for number, each in enumerate(folders):
        files = sorted(each.glob("*.jpg"), key=lambda path: hashlib.sha256(path.name.encode()).digest())
        out = left_out // len(folders) + (number < left_out % len(folders))
        asked += files[:out]
        (folder / "photos" / each.name).mkdir(parents=True)
        for file in files[out : None if kept is None else out + kept]:
            (folder / "photos" / each.name / file.name).symlink_to(file)
    publish_run(folder / "photos", folder / "output", model, components=128, shard_size=512)
    fitted = load_model(folder / "output")
    rows = read_rows(fitted.output, fitted.record)
    wrong = []
    for photo in fitted.transform(asked):
        assert photo.values is not None
        vote = similar(rows, photo.values, 1).vote
        assert vote is not None
        if vote.label != Path(photo.path).parent.name:
            wrong.append((photo.path, vote.label))
    return Named(len(asked), wrong)
