"""`fruits parity`: whether two outputs hold the same."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer

from flows.options.published import ParitySettings
from flows.signatures import as_command

if TYPE_CHECKING:
    from rich.console import RenderableType

    from engines.core.compare.outputs import Comparison
    from engines.core.compare.rows import RowsComparison


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="parity")(parity)


@as_command(ParitySettings)
def parity(settings: ParitySettings) -> None:
    """Compare two outputs, made by any engines, anywhere.

    Exit code 0: identical, or equal within the tolerance for other kinds of CPU; 1: different.
    """
    from engines.core.compare.outputs import compare
    from engines.core.storage import normalize_location

    comparison = compare(normalize_location(settings.a), normalize_location(settings.b))
    show(comparison, as_json=settings.as_json)


def show(comparison: Comparison, *, as_json: bool) -> None:
    """Print the comparison, and exit with 1 when the two are different."""
    if as_json:
        typer.echo(json.dumps(comparison.to_dict(), indent=1, ensure_ascii=False))
    else:
        from flows.views.console import console

        console().print(report(comparison))
    if comparison.verdict == "different":
        raise typer.Exit(1)


def report(comparison: Comparison) -> RenderableType:
    """The verdict, the figures it rests on, and the reasons when the two are different."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    style = {"identical": "bold green", "equal within tolerance": "bold yellow"}.get(comparison.verdict, "bold red")
    facts = Table.grid(padding=(0, 3))
    facts.add_column(style="dim")
    facts.add_column(overflow="fold")
    facts.add_row("features", _rows(comparison.features))
    facts.add_row("results", _rows(comparison.results))
    pca = comparison.pca
    if pca is not None:
        bits = "the same bit for bit" if pca.identical else f"eigenvalues within {pca.eigenvalue_difference:.2g}"
        facts.add_row("PCA", f"{len(pca.angles):,} components, {bits}")
        if not pca.identical:
            turned = max(range(len(pca.angles)), key=pca.angles.__getitem__)
            facts.add_row("  subspace", f"largest angle {pca.largest_angle:.2g} rad")
            facts.add_row("  components", f"largest angle {pca.angles[turned]:.2g} rad, of component {turned + 1}")
    if comparison.correlations:
        least = min(range(len(comparison.correlations)), key=comparison.correlations.__getitem__)
        facts.add_row("correlation", f"at least {comparison.correlations[least]:.9f}, of component {least + 1}")
        facts.add_row("deviation", f"at most {comparison.largest_deviation:.2g} of a component's standard deviation")
    reasons = [Text(f"- {reason}") for reason in comparison.reasons]
    causes = [Text("why")] * bool(comparison.causes) + [Text(f"- {cause}") for cause in comparison.causes]
    body = Group(Text(comparison.verdict, style=style), *reasons, Text(""), facts, *causes)
    return Panel(body, title="parity", title_align="left", expand=False)


def _rows(rows: RowsComparison) -> str:
    if not rows.images:
        return "no common images" if rows.only_in_a or rows.only_in_b else "not compared"
    images = f"{rows.images:,} common images, "
    if not rows.differing_values:
        return images + "the same bit for bit"
    return images + f"{rows.differing_values:,} values differ, by {rows.largest_difference:.2g} at most"
