"""`fruits ls`: what a run of a source would take."""

from __future__ import annotations

import typer

from flows.options.run import LsSettings
from flows.signatures import as_command


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="ls")(ls)


@as_command(LsSettings)
def ls(settings: LsSettings) -> None:
    """Show what a run would take of SOURCE: images by label, split and format, and what is left out and why.

    Takes the options of `fruits run` that say so. Only names are looked at: nothing is read but metadata files.
    """
    import json
    from dataclasses import asdict

    from engines.core.index.labelling import check_labelling
    from engines.core.index.overview import look_at
    from engines.core.sources import open_source
    from engines.core.storage import normalize_location
    from flows.checks import check_counts, check_metadata
    from flows.credentials import use_block
    from flows.views.console import console
    from flows.views.overview import overview_of

    check_counts(settings)
    check_labelling(settings.labelling)
    check_metadata(settings.metadata)
    use_block(settings.credentials)
    source = normalize_location(settings.source)
    open_source(source).check()
    found = look_at(source, settings.selection, settings.labelling)
    if settings.as_json:
        typer.echo(json.dumps(asdict(found), indent=1, ensure_ascii=False))
    else:
        console().print(overview_of(found))
