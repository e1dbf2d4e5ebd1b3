"""`fruits verify`: whether what is published is what was written."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from flows.options.published import VerifySettings
from flows.signatures import as_command

if TYPE_CHECKING:
    from engines.core.output import RunRecord
    from engines.published.verify import Found
    from flows.views.progress import Listener


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="verify")(verify)


@as_command(VerifySettings)
def verify(settings: VerifySettings) -> None:
    """Read everything that is published in OUTPUT, and say what is missing, truncated, corrupt or foreign.

    Every file is held to the checksum it carries, and to the files that belong to it. With --deep, a sample of photos
    is computed again from their files too. Nothing is changed. Exit code 1: something is wrong; what to do is said.
    """
    from engines.base import Progress
    from engines.core.output import read_record
    from engines.core.storage import normalize_location
    from engines.published.verify import verify as verify_files
    from flows.checks import check_counts
    from flows.credentials import use_block
    from flows.views import terminal
    from flows.views.verification import verdict

    check_counts(settings)
    use_block(settings.credentials)
    output = normalize_location(settings.output)
    with terminal.progress_bar("starting") as listener:
        result = verify_files(output, lambda done, total: listener(Progress("verify", done, total)))
        compared = 0
        # Photos can be computed again where the model and the results are whole.
        if settings.deep and not result.found:
            compared, different = _recompute(output, read_record(output), settings.images, listener)
            result.found += different
    if settings.as_json:
        typer.echo(json.dumps(asdict(result) | {"recomputed": compared}, indent=1, ensure_ascii=False))
    else:
        from rich.console import Console

        Console(highlight=False, soft_wrap=True).print(verdict(output, result, compared))
    if result.found:
        raise typer.Exit(1)


def _recompute(output: str, record: RunRecord, images: int, listener: Listener) -> tuple[int, list[Found]]:
    """How many published rows were computed again, and those that came out otherwise."""
    from engines import create_engine
    from engines.published.verify import Found
    from engines.recheck import compare_published
    from flows.engine_log import running

    engine = create_engine("dask")
    engine.on_progress = listener
    with running(engine):
        differences = compare_published(engine, output, record, images)
    found = []
    for each in differences:
        if each.unreadable:
            what, remedy = each.unreadable, "Run `fruits run` again: the photo is not the one that was featurized."
        else:
            what = f"its row differs by {each.deviations:.2g} standard deviations of a component"
            remedy = "Run `fruits run` with --verify-content, which looks at every photo."
        if not each.within_tolerance:
            found.append(Found(each.path, "foreign" if each.unreadable else "corrupt", f"{each.path}: {what}", remedy))
    return len(differences), found
