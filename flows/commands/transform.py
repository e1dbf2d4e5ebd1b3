"""`fruits transform`: new photos through the model of an output."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

from flows.options.use import TransformSettings
from flows.signatures import as_command

if TYPE_CHECKING:
    import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="transform")(transform)


@as_command(TransformSettings)
def transform(settings: TransformSettings) -> None:
    """Turn new photos into the numbers that a run would have given them, with the network and the PCA of OUTPUT.

    A line a photo on standard output: JSON with path, label and pcaFeatures; or a table: --file photos.parquet. What is
    no photo is a row with its reason. Exit code 0, unless every photo was rejected (1). Labels are by the rule of the
    run, below the folder that is named: a folder, a regular expression, or metadata beside the photos; empty where
    nothing is known. Needs no TensorFlow, no engine, and no Prefect: pip install fruit-features[use].

    In Python: `engines.published.load_model(OUTPUT).transform([PHOTO, ...])`.
    """
    from flows.checks import check_counts
    from flows.new_photos import check_some_decoded, table_format, transform_into

    check_counts(settings)
    kind = table_format(settings)
    done = transform_into(settings, kind, lambda: _target(settings.file))
    check_some_decoded(done)
    if done.rejected:
        sys.stderr.write(f"{done.rejected:,} of {done.photos:,} files were rejected, their rows say why\n")


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
