"""`fruits shard`: the photos of a shard."""

from __future__ import annotations

import typer

from flows.options.published import ShardSettings
from flows.signatures import as_command


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="shard")(shard)


@as_command(ShardSettings)
def shard(settings: ShardSettings) -> None:
    """List the photos of a shard that an error names by its ID, and what became of each.

    A line for each photo: its path, a tab, and `featurized`, why it was rejected, or `not done yet`.
    """
    from engines.core.index.shard_photos import shard_photos
    from engines.core.storage import normalize_location

    found = shard_photos(normalize_location(settings.output), settings.shard)
    for photo in found.photos:
        typer.echo(f"{_printable(photo.path)}\t{_printable(found.became.get(photo.path, 'not done yet'))}")


def _printable(text: str) -> str:
    """The text without what a terminal would obey: file names may hold anything."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
