"""Plots as SVG that read on white and on black: no background, and text of a grey between."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.contestants import ENGINES, LIMIT
from tests.benchmarks.measurements import Row
from tests.benchmarks.tables import growth
from tests.benchmarks.targets import MEBIBYTE, seconds_of

_TEXT = "#76808b"
"""Contrast of 4 to white and of 4.7 to GitHub's black."""
_CHAIN, _LIMIT, _OTHER = "#2f9e62", "#b08a2e", "#8b98a6"
_SERIES = {"dask": "#2f9e62", "spark": "#c2571a"}


def plot_rates(rows: Sequence[Row], path: Path) -> None:
    """Photos a second, a bar for each contestant, a panel for each number of photos."""
    pyplot = _pyplot()
    counts = sorted({row.size for row in rows})
    most = max(sum(row.size == images for row in rows) for images in counts)
    figure, panels = pyplot.subplots(
        len(counts), 1, figsize=(8, (0.8 + 0.34 * most) * len(counts)), squeeze=False, sharex=True, layout="constrained"
    )
    for images, axes in zip(counts, panels[:, 0], strict=True):
        here = sorted((row for row in rows if row.size == images), key=_seconds, reverse=True)
        rates = [images / _seconds(row) for row in here]
        colours = [_CHAIN if row.subject in ENGINES else _LIMIT if row.subject == LIMIT else _OTHER for row in here]
        bars = axes.barh([row.subject for row in here], rates, color=colours, height=0.7)
        axes.bar_label(bars, [f"{rate:.0f}" for rate in rates], padding=4, color=_TEXT)
        axes.set_title(f"{images:,} photos", loc="left", fontsize=10)
        axes.margins(x=0.08)
        axes.tick_params(length=0)
    panels[-1, 0].set_xlabel("photos a second, from the command to the results; the network alone: on pixels in memory")
    _save(figure, path)


def plot_growth(rows: Sequence[Row], path: Path) -> None:
    """Peak memory of driver and largest worker, and seconds, by the number of photos.

    Filled: whole runs. Hollow: catalog, fit and project alone.
    """
    pyplot = _pyplot()
    from matplotlib.ticker import LogLocator, NullFormatter

    figure, (memory, seconds) = pyplot.subplots(1, 2, figsize=(9, 4), layout="constrained")
    for name, engine in ENGINES.items():
        for what in (growth.PHOTOS, growth.CATALOG):
            here = sorted((row for row in rows if row.subject == growth.subject(name, what)), key=lambda row: row.size)
            if not here:
                continue
            whole = what == growth.PHOTOS
            style = {"color": _SERIES[engine], "fillstyle": "full" if whole else "none"}
            sizes = [row.size for row in here]
            drivers = [max(each.memory.driver + each.memory.jvm for each in row.rounds) / MEBIBYTE for row in here]
            workers = [max(each.memory.worker for each in row.rounds) / MEBIBYTE for row in here]
            engine_name = engine.title()
            memory.plot(sizes, drivers, "s--", label=f"driver, {engine_name}" if whole else None, **style)
            memory.plot(sizes, workers, "o-", label=f"largest worker, {engine_name}" if whole else None, **style)
            seconds.plot(sizes, [_seconds(row) for row in here], "o-", label=engine_name if whole else None, **style)
    memory.set(ylabel="peak memory, MiB", ylim=(0, None))
    seconds.set(yscale="log", ylabel="seconds")
    seconds.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    seconds.yaxis.set_major_formatter("{x:,.0f}")
    seconds.yaxis.set_minor_formatter(NullFormatter())
    sizes = sorted({row.size for row in rows})
    hollow = any(row.subject.endswith(growth.CATALOG) for row in rows)
    for axes in (memory, seconds):
        axes.set(xscale="log", xlabel="photos" + (" (hollow: catalog, fit and project alone)" if hollow else ""))
        axes.set_xticks(sizes, [_short(size) for size in sizes], minor=False)
        axes.xaxis.minorticks_off()
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), frameon=False, fontsize=9, ncols=2)
    _save(figure, path)


def _seconds(row: Row) -> float:
    found = seconds_of(row)
    assert found is not None
    return found.median


def _short(size: int) -> str:
    return f"{size // 1_000_000}M" if size >= 1_000_000 else f"{size // 1000}k" if size >= 1000 else str(size)


def _pyplot() -> Any:
    import matplotlib as mpl

    mpl.use("svg")
    greys = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    mpl.rcParams.update(dict.fromkeys(greys, _TEXT))
    mpl.rcParams.update(
        {"svg.hashsalt": "fruits", "font.size": 10, "axes.spines.top": False, "axes.spines.right": False}
    )
    from matplotlib import pyplot

    return pyplot


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, transparent=True, metadata={"Date": None})
    _pyplot().close(figure)
