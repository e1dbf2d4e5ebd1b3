"""`fruits show`: the summary of an output."""

from __future__ import annotations

import typer

from flows.commands import options


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="show")(show)


def show(
    output: options.Published,
) -> None:
    """Show what is published in OUTPUT, and where."""
    from rich.console import Console

    from engines.core.output import read_record
    from engines.core.storage import normalize_location
    from flows.views.summary import summary

    location = normalize_location(output)
    Console(highlight=False).print(summary(location, read_record(location)))
