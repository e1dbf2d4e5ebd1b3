"""A run record as a person reads it in the terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from engines.core.layout import RECORD, REPORT
from engines.core.output import Counts, RunRecord
from engines.core.rejects import REASONS
from engines.core.storage import open_storage
from engines.emr.cost import closing_line
from flows.views.overview import left_out_rows

MEBIBYTE = 2**20


def summary(output: str, record: RunRecord, *, unchanged: bool = False) -> RenderableType:
    """Counts, rejects by reason, explained variance, time per stage, and where the results are.

    `unchanged`: it is shown by a run that found all of this done.
    """
    storage = open_storage(output)
    facts = Table.grid(padding=(0, 3))
    facts.add_column(style="dim")
    facts.add_column(justify="right", style="bold")
    facts.add_column(style="dim")
    counts = record.counts
    facts.add_row("listed", f"{counts.listed:,}", f"images of {counts.labels:,} classes{_by_case(counts)}")
    for split, images in record.splits.items():
        facts.add_row(f"  {split or '(no split)'}", f"{images:,}", "")
    for reason, number, text in left_out_rows(record.left_out or _unexplained(counts)):
        facts.add_row(reason, number, Text(text))
    facts.add_row("featurized", f"{counts.featurized:,}", _reused(counts, unchanged=unchanged))
    facts.add_row("rejected", f"{counts.rejected:,}", "")
    for reason, count in record.rejected_by_reason.items():
        facts.add_row(f"  {reason}", f"{count:,}", REASONS[reason])
    facts.add_row("projected", f"{counts.projected:,}", "")
    explain = f"explain {record.explained_variance:.2%} of the variance{fitted_to(record)}"
    facts.add_row("components", f"{record.components:,}", explain)
    if frozen := record.frozen_pca:
        then = f"frozen: it explained {frozen.explained_variance:.2%} of the photos it was fitted to"
        facts.add_row("PCA", frozen.pca.rpartition("/")[2], then)
    facts.add_row("for 95 %", f"{record.components_for_95:,}", "components would be needed")
    stages = Table.grid(padding=(0, 3))
    stages.add_column(style="dim")
    stages.add_column(justify="right")
    stages.add_column(style="dim")
    for stage, seconds in record.timings.items():
        stages.add_row(stage, f"{seconds:,.1f} s", _rate(stage, seconds, counts))
    stages.add_row("together", f"{sum(record.timings.values()):,.1f} s", "")
    where = Table.grid(padding=(0, 3))
    where.add_column(style="dim")
    where.add_column(overflow="fold")
    where.add_row("results", Text(storage.uri(record.results)))
    where.add_row("report", Text(storage.uri(REPORT)))
    where.add_row("record", Text(storage.uri(RECORD)))
    where.add_row("model", Text(model_line(record)))
    where.add_row("engine", Text(_engine(record)))
    if cost := closing_line(record.engine_details):
        where.add_row("cost", Text(cost))
    for remark in record.remarks:
        where.add_row("photos", Text(remark, style="yellow"))
    if remarks := arithmetic_remarks(record):
        where.add_row("arithmetic", Text(" ".join(remarks), style="yellow"))
    blank = Text("")
    return Panel(Group(facts, blank, stages, blank, where), title="fruit features", title_align="left", expand=False)


def _by_case(counts: Counts) -> str:
    return f"; {counts.left_out_by_case:,} not matched only by upper or lower case" if counts.left_out_by_case else ""


def _unexplained(counts: Counts) -> dict[str, dict[str, int]]:
    """What a run of before left out: only its glob did."""
    return {"not_matched": {"": counts.left_out}} if counts.left_out else {}


def _rate(stage: str, seconds: float, counts: Counts) -> str:
    fresh = counts.listed - counts.reused
    return f"{fresh / seconds:,.0f} images a second" if stage == "featurize" and fresh and seconds else ""


def fitted_to(record: RunRecord) -> str:
    """Of which photos the variance is, if not of all."""
    split = record.parameters.get("fit_split")
    return f" of {split}" if split else ""


def _reused(counts: Counts, *, unchanged: bool) -> str:
    if unchanged:
        return "all by a former run"
    # Records of before count rejected images too.
    return f"{min(counts.reused, counts.featurized):,} of them by a former run"


def model_line(record: RunRecord) -> str:
    """Network, weights, runtime and fingerprint; whether the weights were made up."""
    recipe = record.model.recipe
    network = recipe["architecture"].partition(",")[0]
    note = " (made up, not trained: for trying out only)" if recipe["weights"] == "random" else ""
    return f"{network}, weights {recipe['weights']}{note}, {recipe['runtime']}, fingerprint {record.model.fingerprint}"


def arithmetic_remarks(record: RunRecord) -> list[str]:
    """What keeps the bits of a run from being those that any CPU would give; empty where nothing does."""
    arithmetic = record.arithmetic
    if arithmetic is None:
        return []
    remarks = []
    if arithmetic.deviating:
        remarks.append(
            f"Mixed: the features of {arithmetic.deviating:,} images come from CPUs of other bits, "
            "and are equal to those of the others within tolerance only."
        )
    if arithmetic.unsettled:
        numbers = ", ".join(map(str, arithmetic.unsettled))
        remarks.append(f"The rounding of the components {numbers} could not be decided.")
    return remarks


def _engine(record: RunRecord) -> str:
    details = dict(record.engine_details)
    peak = details.pop("worker_peak_memory", 0)
    shown = [f"{name} {value}" for name, value in details.items()]
    shown += [f"{peak / MEBIBYTE:,.0f} MiB at most per worker"] if peak else []
    return ", ".join([record.engine, *shown])
