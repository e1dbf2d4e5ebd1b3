"""`fruits export`: published results in the formats of other programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.options.use import EXPORT_FORMATS, ExportSettings
from flows.signatures import as_command

if TYPE_CHECKING:
    import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="export")(export)


@as_command(ExportSettings)
def export(settings: ExportSettings) -> None:
    """Write the results of OUTPUT into the new folder DIR, in another format.

    huggingface: a dataset with its card, vectors of fixed length. npy: a matrix, and its rows as parquet. lance: a
    Lance dataset. usearch: an index for approximate search, and its rows. embedding-atlas: with the exact nearest
    neighbours, and x, y on the map of `fruits check`, or the first two components where there was none. csv: one table,
    a column per component.

    The results themselves are parquet, which DuckDB, pandas, Polars and Spark read as they are.
    """
    from rich.console import Console

    from engines.core.errors import InputError
    from engines.published.export import export as write

    if settings.to not in EXPORT_FORMATS:
        raise InputError(f"there is no format {settings.to!r}", f"Choose one with --to: {', '.join(EXPORT_FORMATS)}.")
    done = write(settings.output, settings.to, settings.folder)
    text = f"{done.rows:,} rows of {done.record.components:,} numbers as {settings.to} in {settings.folder}"
    Console(highlight=False).print(text, soft_wrap=True, markup=False)
