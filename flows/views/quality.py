"""A check as a person reads it in the terminal, and on Prefect's page."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from engines.core.layout import REPORT, check_folder, issues_key, quality_key
from engines.core.quality.figures import ISSUES, Quality, SpaceQuality
from engines.core.storage import open_storage

_WORST = 5


def panel(output: str, quality: Quality, former: Quality | None = None) -> RenderableType:
    """Accuracy, the components it takes, the worst classes, the issues, the parts, and where the files are."""
    storage = open_storage(output)
    blocks: list[RenderableType] = [_accuracy(quality, former), Text(""), _spaces(quality)]
    if worst := worst_classes(quality):
        blocks += [Text(""), _table(("worst classes", "recall", "precision"), worst)]
    if pairs := quality.confusions[:_WORST]:
        rows = [(pair.label, f"{pair.rows:,}", f"taken for {pair.predicted}") for pair in pairs]
        blocks += [Text(""), _table(("confused", "images", ""), rows)]
    issues = [(name.replace("_", " "), f"{quality.issues[name]:,}", text) for name, text in ISSUES.items()]
    blocks += [Text(""), _table(("issues", "images", ""), issues)]
    if quality.unread:
        blocks.append(
            Text(
                f"The files of {quality.unread:,} images could not be read again: "
                "whether they are the same as another is not known.",
                style="yellow",
            )
        )
    if quality.splits:
        blocks += [Text(""), _splits(quality)]
    where = Table.grid(padding=(0, 3))
    where.add_column(style="dim")
    where.add_column(overflow="fold")
    folder = check_folder(quality.check)
    for name, key in (("issues", issues_key(folder)), ("figures", quality_key(folder)), ("report", REPORT)):
        where.add_row(name, Text(storage.uri(key)))
    return Panel(Group(*blocks, Text(""), where), title="fruit features, checked", title_align="left", expand=False)


def worst_classes(quality: Quality) -> list[tuple[str, str, str]]:
    """The classes with errors, the worst first: name, recall and precision of the neighbours' vote."""
    return [
        (each.label, f"{each.recall:.1%}", f"{each.precision:.1%}")
        for each in quality.classes[:_WORST]
        if each.recall < 1
    ]


def space_name(space: SpaceQuality, quality: Quality) -> str:
    """A space as people call it."""
    if not space.components:
        return "all features"
    return f"{space.components} components" + (" (published)" if space.components == quality.components else "")


def share(value: float | None) -> str:
    """A share in percent, or a dash."""
    return "-" if value is None else f"{value:.2%}"


def space_rows(quality: Quality) -> list[tuple[str, str, str, str]]:
    """Per space: its name, accuracy of the neighbours' vote, of the nearest alone, and of the linear probe."""
    return [
        (
            space_name(each, quality),
            share(each.neighbours.vote if each.neighbours else None),
            share(each.neighbours.nearest if each.neighbours else None),
            share(each.probe.accuracy if each.probe else None),
        )
        for each in quality.spaces
    ]


def split_rows(quality: Quality) -> list[tuple[str, str, str, str, str, str]]:
    """Per part but the training part: name, images, leaked, accuracy of neighbours and probe, Fréchet distance."""
    return [
        (
            each.split,
            f"{each.rows:,}",
            f"{each.leaked:,}",
            share(each.neighbours.vote if each.neighbours else None),
            share(each.probe.accuracy if each.probe else None),
            "-" if each.frechet is None else f"{each.frechet:,.1f}",
        )
        for each in quality.splits
    ]


def _accuracy(quality: Quality, former: Quality | None) -> RenderableType:
    if quality.accuracy is None:
        return Text(f"{quality.rows:,} images of fewer than two classes: no accuracy to tell")
    was = f", before {former.accuracy.vote:.2%}" if former and former.accuracy else ""
    return Text.assemble(
        (f"{quality.accuracy.vote:.2%}", "bold"),
        f" of {quality.labelled:,} images are called right by their {quality.neighbours} nearest others{was}",
    )


def _spaces(quality: Quality) -> Table:
    return _table(("in", "by neighbours", "by the nearest", "by a linear probe"), space_rows(quality))


def _splits(quality: Quality) -> Table:
    heads = (
        f"against {quality.training}",
        "images",
        "leaked",
        "by neighbours",
        "by a linear probe",
        "Fréchet distance",
    )
    return _table(heads, split_rows(quality))


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Table:
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="dim", pad_edge=False)
    for number, head in enumerate(heads):
        last = number == len(heads) - 1
        table.add_column(head, justify="left" if number == 0 or (last and not head) else "right")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table
