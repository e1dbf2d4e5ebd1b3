"""`benchmarks.md` and its plots, of what was measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tests.benchmarks.contestants import CONTESTANTS, DASK, ENGINES, LIMIT
from tests.benchmarks.measurements import Measurements, Row
from tests.benchmarks.plots import plot_growth, plot_rates
from tests.benchmarks.process import Measured
from tests.benchmarks.tables import growth, reduce, s3, start_up
from tests.benchmarks.targets import MEBIBYTE, TARGETS, Spread, part_of, seconds_of, spread_of

_MEMORY = ("driver", "jvm", "worker", "sum")


def write_report(measured: Measurements, folder: Path) -> None:
    """`benchmarks.md` in `folder`, and a plot of each table that has one."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "benchmarks.md").write_text(markdown(measured), encoding="utf-8")
    if end_to_end := [row for row in measured.rows("end_to_end") if row.rounds]:
        plot_rates(end_to_end, folder / "benchmarks.svg")
    if grown := [row for row in measured.rows(growth.TABLE) if row.rounds]:
        plot_growth(grown, folder / "benchmarks-growth.svg")
    print(f"written: {folder / 'benchmarks.md'}")


def markdown(measured: Measurements) -> str:
    """The page."""
    parts = [
        _introduction(measured),
        _targets(measured),
        *_end_to_end(measured),
        _start_up(measured),
        _reduce(measured),
        _s3(measured),
        _growth(measured),
        _same_work(measured),
        _who(),
        _failures(measured),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of markdown; all columns but the first are numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def figure(value: float) -> str:
    """Three digits that count, and no more than a person reads."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def spread(found: Spread | None, unit: str = "") -> str:
    """The median, with the smallest and the largest where they differ."""
    if found is None:
        return "not measured"
    text = f"{figure(found.median)}{_unit(unit)}"
    ends = figure(found.smallest), figure(found.largest)
    return text if ends[0] == ends[1] else f"{text} ({ends[0]} to {ends[1]})"


def _unit(unit: str) -> str:
    return unit if unit in ("", "x") else f" {unit}"


def _introduction(measured: Measurements) -> str:
    dates = sorted({row.date for row in measured.all_rows()})
    when = " to ".join(dict.fromkeys([dates[0], dates[-1]])) if dates else "never"
    machines = [
        f"{each['cores']} cores of {each['cpu']}, {each['memory']}, {each['system']}. {each['versions']}."
        for each in measured.machines()
    ]
    return "\n\n".join(
        [
            "# Benchmarks",
            f"Measured by `make benchmark`, {when}. Medians of rounds that were run in turn, with the smallest and the "
            "largest; seconds are of whole processes, from start to end, where nothing else is said. The model was "
            "converted before. Real photos are those of Fruits-360, 33 classes.",
            *machines,
        ]
    )


def _targets(measured: Measurements) -> str:
    rows = []
    for target in TARGETS:
        found = target.measure(measured)
        bound = f"{'>=' if target.at_least else '<='} {figure(target.bound)}{_unit(target.unit)}"
        reached = "" if found is None else "yes" if target.reached(found.median) else "no"
        rows.append([target.what, spread(found, target.unit), bound, reached])
    head = ["what", "measured", "target", "reached"]
    return "## Targets\n\n" + table(head, rows) + "\n\nThe spread of a ratio is the widest that its rounds allow."


def _end_to_end(measured: Measurements) -> list[str]:
    rows = [row for row in measured.rows("end_to_end") if row.rounds]
    sections = []
    for images in sorted({row.size for row in rows}):
        here = sorted((row for row in rows if row.size == images), key=_median_seconds)
        chain = next((_median_seconds(row) for row in here if row.subject == DASK), None)
        lines = []
        for row in here:
            seconds = _median_seconds(row)
            ratio = f"{seconds / chain:.2f}" if chain else ""
            lines.append(
                [
                    row.subject,
                    spread(seconds_of(row)),
                    f"{len(row.rounds)}",
                    figure(images / seconds),
                    ratio,
                    spread(spread_of(row.values(lambda each: each.cpu_seconds))),
                    *_mebibytes(row, lambda each: max(each.memory.driver, each.memory.jvm, each.memory.worker)),
                    *_mebibytes(row, lambda each: each.memory.sum),
                ]
            )
        head = ["", "seconds", "rounds", "photos/s", f"{DASK} is faster by", "CPU seconds"]
        head += ["largest process, MiB", "all processes, MiB"]
        sections.append(f"## {images:,} photos, end to end\n\n" + table(head, lines))
    if sections:
        sections[0] = "![Photos a second, end to end](benchmarks.svg)\n\n" + sections[0]
        sections[-1] += (
            f"\n\nCPU seconds are of the whole machine meanwhile. Seconds of {LIMIT} are of its network; its CPU "
            "seconds include decoding."
        )
    return sections


def _start_up(measured: Measurements) -> str:
    rows = [row for row in measured.rows(start_up.TABLE) if row.rounds]
    lines = [[row.subject, f"{row.size:,}", spread(seconds_of(row)), f"{len(row.rounds)}"] for row in rows]
    return "## Start-up\n\n" + table(["", "photos", "seconds", "rounds"], lines) if rows else ""


def _reduce(measured: Measurements) -> str:
    lines = []
    for row in measured.rows(reduce.TABLE):
        if not row.rounds:
            continue
        if row.subject in ENGINES:
            parts = [part_of(row, "fit"), part_of(row, "project"), part_of(row, "fit", "project")]
        elif row.subject == reduce.MLLIB:
            parts = [None, None, part_of(row, "reduce")]
        else:
            parts = [part_of(row, "fit"), part_of(row, "write"), None]
        shown = ["" if part is None else spread(part) for part in parts]
        lines.append([row.subject, f"{row.size:,}", *shown, f"{len(row.rounds)}"])
    if not lines:
        return ""
    head = ["", "rows of 1280", "fit", "project and write", "together", "rounds"]
    return (
        "## Features to results\n\n" + table(head, lines) + "\n\n"
        "Seconds, with the engine started before, as it is in a run. The chain and MLlib read the same features from "
        "parquet and write the results. Numpy has them in memory as float64, and does syrk and eigh; pyarrow writes "
        "path, label and 128 numbers that are there already."
    )


def _s3(measured: Measurements) -> str:
    lines = []
    for row in (row for row in measured.rows(s3.TABLE) if row.rounds):
        seconds = part_of(row, "featurize")
        busy = row.rounds[-1].parts.get("server_seconds")
        requests, faults = (row.rounds[-1].parts.get(name, 0) for name in ("requests", "faults"))
        server = "" if busy is None else f"{requests:,.0f} in {figure(busy)} s, {faults:,.0f} faults"
        speed = figure(row.size / seconds.median) if seconds else ""
        lines.append([row.subject, f"{row.size:,}", spread(seconds), speed, server, f"{len(row.rounds)}"])
    head = ["", "photos", "featurize, seconds", "photos/s", "server: requests, CPU seconds, faults", "rounds"]
    note = (
        "The server runs on the same cores, and takes what the last column but one says of them. Its faults: 500, 503, "
        "a connection that is reset, no answer at all, half a body, a length that is not true."
    )
    return f"## Photos on S3\n\n{table(head, lines)}\n\n{note}" if lines else ""


def _growth(measured: Measurements) -> str:
    lines = []
    for row in sorted(measured.rows(growth.TABLE), key=lambda row: (row.subject, row.size)):
        if row.rounds:
            memory = [_mebibytes(row, lambda each, name=name: getattr(each.memory, name))[0] for name in _MEMORY]
            lines.append([row.subject, f"{row.size:,}", spread(seconds_of(row)), *memory])
    if not lines:
        return ""
    head = ["", "photos", "seconds", "driver, MiB", "JVM, MiB", "largest worker, MiB", "all processes, MiB"]
    return (
        "## Growth\n\n![Memory and time by number of photos](benchmarks-growth.svg)\n\n" + table(head, lines) + "\n\n"
        "Made-up photos of 131 classes. Peaks of resident sets, which count what processes share each time; all "
        "processes: what is shared counts once, looked at once a second. Dask's scheduler counts as a worker. "
        f"*{growth.CATALOG}*: a catalog of so many rows is made, and made-up features are fitted and projected."
    )


def _same_work(measured: Measurements) -> str:
    lines = []
    for row in (row for row in measured.rows("same_work") if row.rounds):
        parts = row.rounds[-1].parts
        lines.append(
            [row.subject, f"{row.size:,}", f"{parts['features differ']:.1e}", f"{parts['results differ']:.1e}"]
        )
    if not lines:
        return ""
    return (
        f"## The same work\n\nAll give the same rows; how much they differ from {DASK}:\n\n"
        + table(["", "photos", "features", "results"], lines)
        + "\n\nFeatures: root of the mean square, relative to theirs. Results: of the products of all "
        "pairs of rows, which signs of components and the n of the standard deviation leave as they are. TensorFlow's "
        "bicubic does not round between rows and columns, as Pillow's does."
    )


def _who() -> str:
    return "## Who is who\n\n" + "\n".join(f"- **{each.name}**: {each.what}." for each in CONTESTANTS)


def _failures(measured: Measurements) -> str:
    failed = [row for row in measured.all_rows() if row.failure]
    lines = "\n".join(f"- {row.table}: {row.subject}, {row.size:,}: {row.failure}" for row in failed)
    return f"## What failed\n\n{lines}" if failed else ""


def _median_seconds(row: Row) -> float:
    found = seconds_of(row)
    assert found is not None
    return found.median


def _mebibytes(row: Row, of: Callable[[Measured], int]) -> list[str]:
    peak = max(row.values(of)) / MEBIBYTE
    return [f"{peak:,.0f}" if peak else ""]
