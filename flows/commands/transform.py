"""`fruits transform`: new photos through the model of an output."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

from flows.options import TABLE_FORMATS, TransformSettings
from flows.signatures import as_command

if TYPE_CHECKING:
    import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="transform")(transform)


@as_command(TransformSettings)
def transform(settings: TransformSettings) -> None:
    """Turn new photos into the numbers that a run would have given them, with the network and the PCA of OUTPUT.

    A line a photo on standard output: JSON with path, label (the folder below the one that was named) and pcaFeatures;
    or a table: --file photos.parquet. What is no photo is a row with its reason. Exit code 0, unless every photo was
    rejected (1). Needs no TensorFlow, no engine, and no Prefect: pip install fruit-features[use].

    In Python: `engines.published.load_model(OUTPUT).transform([PHOTO, ...])`.
    """
    from engines.core.errors import RejectsError
    from engines.published import load_model
    from flows.checks import check_counts

    check_counts(settings)
    kind = _format(settings)
    model = load_model(settings.model, arithmetic=settings.arithmetic)
    rows = model.transform(settings.photos, glob=settings.glob or (), threads=settings.threads or 0)
    first = next(rows)  # before a file is made: most of what cannot be done shows here
    done = rejected = 0
    with _target(settings.file) as file:
        from engines.published.writers import FORMATS

        writer = FORMATS[kind](file, model.record)
        for row in itertools.chain([first], rows):
            writer.write(row)
            done += 1
            rejected += row.values is None
        writer.close()
    if rejected == done:
        raise RejectsError(
            "none of the files is a photo that can be decoded", f"The rows say why; the first: {first.detail}."
        )
    if rejected:
        sys.stderr.write(f"{rejected:,} of {done:,} files were rejected, their rows say why\n")


def _format(settings: TransformSettings) -> str:
    """The format that is asked for, or that the file's name ends in. Raises InputError where it is none."""
    from engines.core.errors import InputError

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


@contextlib.contextmanager
def _target(name: str | None) -> Iterator[IO[bytes]]:
    """Standard output, or a file that appears when it is whole."""
    if name is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    from engines.published.targets import new_file

    with new_file(name) as file:
        yield file
