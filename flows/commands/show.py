"""`fruits show`: the summary of an output."""

from __future__ import annotations

import typer

from flows.options.published import ShowSettings
from flows.signatures import as_command


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="show")(show)


@as_command(ShowSettings)
def show(settings: ShowSettings) -> None:
    """Show what is published in OUTPUT, and where."""
    from engines.core.output import read_record
    from engines.core.storage import normalize_location
    from flows.views.console import console
    from flows.views.summary import summary

    location = normalize_location(settings.output)
    console().print(summary(location, read_record(location)))
