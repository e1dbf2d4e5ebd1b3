"""What a run would take of a source, as a person reads it in the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from engines.core.index.selection import WHY_LEFT_OUT

if TYPE_CHECKING:
    # It lists sources; a record that is shown does not.
    from engines.core.index.overview import Overview

_LABELS_SHOWN = 40
_NAMES_SHOWN = 6

MEBIBYTE = 2**20


def overview_of(found: Overview) -> RenderableType:
    """Photos, formats, splits and labels, what is left out and why, and what a person should know."""
    facts = Table.grid(padding=(0, 3))
    facts.add_column(style="dim")
    facts.add_column(justify="right", style="bold")
    facts.add_column()
    facts.add_row("photos", f"{found.photos:,}", Text(f"{_size(found.bytes)}; {_counts(found.formats)}"))
    if found.splits:
        facts.add_row("splits", f"{len(found.splits):,}", Text(_counts(found.splits, unnamed="(no split)")))
    facts.add_row("labels", f"{len(found.labels):,}", "")
    for reason, count, text in left_out_rows(found.left_out):
        facts.add_row(reason, count, Text(text))
    lines: list[RenderableType] = [Text(found.source, style="bold"), facts, Text(""), _labels(found)]
    lines += [Text(remark, style="yellow") for remark in found.remarks]
    return Group(*lines)


def left_out_rows(left_out: Mapping[str, Mapping[str, int]]) -> Iterator[tuple[str, str, str]]:
    """A row for all files that are left out, and one for each reason: a heading, the count, and which they are."""
    if left_out:
        yield "left out", f"{sum(sum(names.values()) for names in left_out.values()):,}", ""
    for reason, names in left_out.items():
        dot = "." if reason in ("not_decoded", "not_matched", "no_photo") else ""
        shown = {(f"{dot}{name}" if name else "(no ending)"): count for name, count in names.items()}
        yield f"  {reason}", f"{sum(names.values()):,}", f"{WHY_LEFT_OUT[reason]}: {_counts(shown)}"


def _labels(found: Overview) -> RenderableType:
    """A row per label, with a column per split; the largest labels only, if there are many."""
    table = Table(box=None, padding=(0, 3, 0, 0))
    table.add_column("label")
    table.add_column("photos", justify="right")
    for split in found.splits:
        table.add_column(Text(split or "(no split)"), justify="right")
    for label in _first(found.labels, _LABELS_SHOWN):
        by_split = (f"{found.labels_by_split[split].get(label, 0):,}" for split in found.splits)
        table.add_row(Text(label or "(no label)"), f"{found.labels[label]:,}", *by_split)
    if (more := len(found.labels) - _LABELS_SHOWN) > 0:
        rest = sum(list(found.labels.values())[_LABELS_SHOWN:])
        table.add_row(Text(f"... and {more:,} more"), f"{rest:,}")
    return table


def _counts(counts: Mapping[str, int], unnamed: str = "") -> str:
    shown = ", ".join(f"{counts[name]:,} {name or unnamed}" for name in _first(counts, _NAMES_SHOWN))
    rest = sum(counts.values()) - sum(counts[name] for name in _first(counts, _NAMES_SHOWN))
    return f"{shown}, {rest:,} others" if rest else shown


def _first(names: Iterable[str], most: int) -> list[str]:
    return list(names)[:most]


def _size(size: int) -> str:
    return f"{size / MEBIBYTE:,.1f} MiB"
