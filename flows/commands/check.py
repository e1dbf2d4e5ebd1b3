"""`fruits check`: what is odd about published photos, and how well their numbers tell the classes."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from flows.options.emr import EmrTable
from flows.options.published import CheckOutput, CheckSettings
from flows.signatures import as_command

if TYPE_CHECKING:
    import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="check")(check)


@as_command(CheckSettings, EmrTable, CheckOutput)
def check(settings: CheckSettings, table: EmrTable, shown: CheckOutput) -> None:
    """Check what is published in OUTPUT: labels in doubt, duplicates, outliers, and how well classes are told apart.

    Writes checks/VERSION/issues.parquet (a row per photo), quality.json and map.parquet into OUTPUT, and the report
    anew. A second check does only what is missing. Exit code 1: the accuracy is below --min-accuracy.
    """
    from flows.assignments import settings_of_options
    from flows.checks import check_quality_settings, complete
    from flows.credentials import use_credentials
    from flows.views import terminal

    settings = replace(settings, emr=settings_of_options(settings.engine, table))
    settings = complete(settings, config=table.config)
    use_credentials(settings)
    settings = check_quality_settings(settings)
    logging.getLogger("engines").setLevel(logging.INFO if shown.verbose else logging.WARNING)
    with terminal.progress_bar("starting") as listener:
        from flows import quality
        from flows.engine_log import Terminal, told_to

        with told_to(Terminal(verbose=shown.verbose)):
            done = quality.check(replace(settings, min_accuracy=None), on_progress=listener)
    if shown.as_json:
        sys.stdout.write(json.dumps(done.quality.to_json(), indent=1, ensure_ascii=False) + "\n")
    else:
        from flows.views.console import console
        from flows.views.quality import panel

        console().print(panel(settings.output, done.quality, done.former))
    quality.check_accuracy(done.quality, settings.min_accuracy)
