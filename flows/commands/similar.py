"""`fruits similar`: the published photos nearest to another one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer

from flows.options.use import SimilarSettings
from flows.signatures import as_command

if TYPE_CHECKING:
    from rich.console import RenderableType

    from engines.published.rows import Similar


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="similar")(similar)


@as_command(SimilarSettings)
def similar(settings: SimilarSettings) -> None:
    """Say what PHOTO is by the published photos that are nearest to it, and show them.

    Distances are Euclidean, between the projections; the search is exact. Every neighbour has one vote for its label;
    a photo that was part of the run is its own first neighbour.
    """
    from engines.published import load_model
    from engines.published.photos import single_photo
    from engines.published.rows import read_rows
    from engines.published.rows import similar as nearest_rows
    from flows.checks import check_counts

    check_counts(settings)
    photo = single_photo(settings.photo)
    model = load_model(settings.model, arithmetic=settings.arithmetic)
    found = nearest_rows(read_rows(model.output, model.record), model.vector_of(photo), settings.k)
    if settings.as_json:
        typer.echo(json.dumps({"path": photo.entry.path, **as_json(found)}, indent=1, ensure_ascii=False))
    else:
        from flows.views.console import console

        console().print(report(found))


def as_json(found: Similar) -> dict[str, object]:
    """The vote and the neighbours as plain data."""
    return {
        "vote": found.vote and {"label": found.vote.label, "share": found.vote.share},
        "neighbours": [
            {"path": neighbour.path, "label": neighbour.label, "distance": neighbour.distance}
            for neighbour in found.neighbours
        ],
    }


def report(found: Similar) -> RenderableType:
    """The vote in a line, and a line for each neighbour."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    if found.vote is None:
        verdict = Text("no label: the photos of this output lie in no folders of classes")
    else:
        votes = sum(neighbour.label == found.vote.label for neighbour in found.neighbours)
        verdict = Text.assemble((found.vote.label, "bold"), f"  {votes} of {len(found.neighbours)} neighbours")
    lines = Table.grid(padding=(0, 3))
    lines.add_column(justify="right", style="dim")
    lines.add_column()
    lines.add_column(overflow="fold")
    for neighbour in found.neighbours:
        lines.add_row(f"{neighbour.distance:.2f}", Text(neighbour.label), Text(neighbour.path))
    return Group(verdict, lines)
