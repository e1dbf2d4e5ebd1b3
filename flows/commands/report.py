"""`fruits report`: the report of an output, made anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.options.published import ReportSettings
from flows.signatures import as_command

if TYPE_CHECKING:
    import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="report")(report)


@as_command(ReportSettings)
def report(settings: ReportSettings) -> None:
    """Write report.html of OUTPUT anew, and say where it is: one file for any browser, without network.

    It shows what is there: with a check (`fruits check`) also the map, the quality and the issues.
    """
    import typer

    from engines.core.layout import REPORT
    from engines.core.output import read_record
    from engines.core.quality.figures import latest_quality
    from engines.core.storage import normalize_location, open_storage
    from flows.views.report import write_report

    output = normalize_location(settings.output)
    record = read_record(output)
    write_report(output, record, latest_quality(output, record))
    typer.echo(open_storage(output).uri(REPORT))
