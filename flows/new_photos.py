"""New photos through the model of an output, into a table: for the command and for the flow."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import IO

from engines.core.errors import InputError, RejectsError
from engines.published import load_model
from flows.options.use import TABLE_FORMATS, TransformRunSettings, TransformSettings

Settings = TransformSettings | TransformRunSettings


@dataclass(slots=True)
class Done:
    """Photos that were transformed; those rejected by reason, and what is said of the first of these."""

    photos: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    first: str = ""

    @property
    def rejected(self) -> int:
        """Photos that have a reason instead of numbers."""
        return self.reasons.total()


def table_format(settings: Settings) -> str:
    """The format that is asked for, or that the file's name ends in. Raises InputError where it is none."""
    ending = os.path.splitext(settings.file)[1].lstrip(".").lower() if settings.file else "jsonl"
    kind = settings.format or ending
    if kind not in TABLE_FORMATS:
        raise InputError(
            f"there is no format {kind!r}" if kind else f"the format of {settings.file} is not known",
            f"Choose one with --format: {', '.join(TABLE_FORMATS)}.",
        )
    if kind == "parquet" and not settings.file:
        raise InputError("parquet is not for standard output", "Name a file: --file photos.parquet.")
    return kind


def transform_into(settings: Settings, kind: str, target: Callable[[], AbstractContextManager[IO[bytes]]]) -> Done:
    """Write a row per photo to `target`, which is opened when the first one is done: most mistakes show before."""
    model = load_model(settings.model, arithmetic=settings.arithmetic)
    rows = model.transform(settings.photos, glob=settings.glob or (), threads=settings.threads or 0)
    first = next(rows)
    done = Done()
    with target() as file:
        from engines.published.writers import FORMATS

        writer = FORMATS[kind](file, model.record)
        for row in itertools.chain([first], rows):
            writer.write(row)
            done.photos += 1
            if row.values is None:
                done.first = done.first or row.detail
                done.reasons[row.reason] += 1
        writer.close()
    return done


def check_some_decoded(done: Done) -> None:
    """Raise RejectsError when every photo was rejected."""
    if done.rejected == done.photos:
        raise RejectsError(
            "none of the files is a photo that can be decoded", f"The rows say why; the first: {done.first}."
        )
