"""`fruits clean`: what no published record refers to is removed."""

from __future__ import annotations

import os
import sys

import typer

from flows.options.published import CleanSettings
from flows.signatures import as_command


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="clean")(clean)


@as_command(CleanSettings)
def clean(settings: CleanSettings) -> None:
    """Remove what is left of former runs in OUTPUT: all that no published record refers to.

    Shows first what that is and how much room it frees, then asks. What is published stays, and its readers are not
    disturbed; files that no run wrote stay too. Refused while a run writes into OUTPUT. Features of photos that were
    added since the last published run are of no published record: run to the end first to keep them.
    """
    from rich.console import Console

    from engines.base import Progress
    from engines.core.errors import InputError
    from engines.core.output import read_record
    from engines.core.storage import normalize_location
    from engines.core.storage.lease import exclusive
    from engines.published.clean import plan_cleaning, remove
    from flows.checks import check_counts
    from flows.credentials import use_block
    from flows.views import terminal
    from flows.views.cleaning import cleaning_table

    check_counts(settings)
    use_block(settings.credentials)
    output = normalize_location(settings.output)
    read_record(output)  # before a lease leaves something where nothing is published
    with exclusive(output, f"fruits clean, process {os.getpid()}") as lease:
        cleaning = plan_cleaning(output, settings.keep)
        Console(highlight=False).print(cleaning_table(output, cleaning))
        if not cleaning.files or settings.dry_run:
            return
        if not settings.yes:
            if not sys.stdin.isatty():
                raise InputError("nobody can be asked here whether to remove it", "Give --yes, or --dry-run to look.")
            typer.confirm(f"Remove {cleaning.files:,} files?", abort=True)
        lease.check()
        with terminal.progress_bar() as listener:
            remove(output, cleaning, lambda done, total: listener(Progress("clean", done, total)))
    typer.echo(f"removed {cleaning.files:,} files")
