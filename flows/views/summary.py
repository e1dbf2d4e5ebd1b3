"""A run record as a person reads it in the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from engines.core.rejects import REASONS
from engines.core.storage import open_storage

MEBIBYTE = 2**20


def summary(output: str, record: dict[str, Any]) -> RenderableType:
    """Counts, rejects by reason, explained variance, time per stage, and where the results are."""
    storage = open_storage(output)
    facts = Table.grid(padding=(0, 3))
    facts.add_column(style="dim")
    facts.add_column(justify="right", style="bold")
    facts.add_column(style="dim")
    counts = record["counts"]
    facts.add_row("listed", f"{counts['listed']:,}", f"images of {counts['labels']:,} classes{_left_out(counts)}")
    facts.add_row("featurized", f"{counts['featurized']:,}", f"{counts['reused']:,} of them by a former run")
    facts.add_row("rejected", f"{counts['rejected']:,}", "")
    for reason, count in record["rejected_by_reason"].items():
        facts.add_row(f"  {reason}", f"{count:,}", REASONS[reason])
    facts.add_row("projected", f"{counts['projected']:,}", "")
    facts.add_row(
        "components", f"{record['components']:,}", f"explain {record['explained_variance']:.2%} of the variance"
    )
    facts.add_row("for 95 %", f"{record['components_for_95']:,}", "components would be needed")
    stages = Table.grid(padding=(0, 3))
    stages.add_column(style="dim")
    stages.add_column(justify="right")
    stages.add_column(style="dim")
    for stage, seconds in record["timings"].items():
        stages.add_row(stage, f"{seconds:,.1f} s", _rate(stage, seconds, counts))
    stages.add_row("together", f"{sum(record['timings'].values()):,.1f} s", "")
    where = Table.grid(padding=(0, 3))
    where.add_column(style="dim")
    where.add_column(overflow="fold")
    where.add_row("results", Text(storage.uri(record["results"])))
    where.add_row("report", Text(storage.uri("report.html")))
    where.add_row("record", Text(storage.uri("run.json")))
    where.add_row("model", Text(_model(record)))
    where.add_row("engine", Text(_engine(record)))
    blank = Text("")
    return Panel(Group(facts, blank, stages, blank, where), title="fruit features", title_align="left", expand=False)


def _left_out(counts: dict[str, int]) -> str:
    if not counts["left_out"]:
        return ""
    by_case = f", {counts['left_out_by_case']:,} only by upper or lower case" if counts["left_out_by_case"] else ""
    return f"; {counts['left_out']:,} other files left out by the glob{by_case}"


def _rate(stage: str, seconds: float, counts: dict[str, int]) -> str:
    fresh = counts["listed"] - counts["reused"]
    return f"{fresh / seconds:,.0f} images a second" if stage == "featurize" and fresh and seconds else ""


def _model(record: dict[str, Any]) -> str:
    model = record["model"]
    note = " (made up, not trained: for trying out only)" if model["weights"] == "random" else ""
    return f"MobileNetV2, weights {model['weights']}{note}, {model['runtime']}, fingerprint {model['fingerprint']}"


def _engine(record: dict[str, Any]) -> str:
    details = dict(record["engine_details"])
    peak = details.pop("worker_peak_memory", 0)
    shown = [f"{name} {value}" for name, value in details.items()]
    shown += [f"{peak / MEBIBYTE:,.0f} MiB at most per worker"] if peak else []
    return ", ".join([record["engine"], *shown])
