"""What `fruits clean` would remove, as a person reads it in the terminal."""

from __future__ import annotations

from rich.console import RenderableType
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from engines.published.clean import Cleaning


def cleaning_table(output: str, cleaning: Cleaning) -> RenderableType:
    """Files and room by kind."""
    kept = f"; {cleaning.kept:,} former results are kept" if cleaning.kept else ""
    if not cleaning.files:
        return Text(f"There is nothing to remove in {output}{kept}.")
    table = Table(title=f"{output}: no record refers to{kept}", title_justify="left", show_footer=True)
    table.add_column("", footer="together")
    table.add_column("files", justify="right", footer=f"{cleaning.files:,}")
    table.add_column("room", justify="right", footer=decimal(cleaning.size))
    for kind, items in cleaning.kinds.items():
        table.add_row(kind, f"{len(items):,}", decimal(sum(item.size for item in items)))
    return table
