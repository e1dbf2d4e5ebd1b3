"""What `fruits verify` found, as a person reads it in the terminal."""

from __future__ import annotations

from itertools import groupby

from rich.console import Group, RenderableType
from rich.text import Text

from engines.core.text import printable
from engines.published.verify import Verification

_SHOWN = 50


def verdict(output: str, result: Verification, recomputed: int) -> RenderableType:
    """A line for each file that is wrong, what to do about each kind, and a sentence."""
    lines: list[Text] = []
    for each in result.found[:_SHOWN]:
        lines.append(Text.assemble((f"{each.finding:<10}", "bold red"), printable(each.message)))
    if len(result.found) > _SHOWN:
        lines.append(Text(f"... and {len(result.found) - _SHOWN:,} more"))
    for remedy, group in groupby(sorted(result.found, key=lambda found: found.remedy), lambda found: found.remedy):
        lines.append(Text(f"{len(list(group)):,} files: {remedy}"))
    if result.unsealed:
        lines.append(
            Text(
                f"{result.unsealed:,} files are of before there were checksums: they can be read.",
                style="yellow",
            )
        )
    deep = f", and {recomputed:,} photos computed again" if recomputed else ""
    if result.found:
        lines.append(
            Text(f"{len(result.found):,} of {result.files:,} files of {output} are damaged{deep}", style="bold red")
        )
    else:
        lines.append(Text(f"all {result.files:,} files of {output} are as they were written{deep}", style="bold green"))
    return Group(*lines)
