"""Medians and ratios as a table, and as a plot."""

from __future__ import annotations

import datetime
import platform
import statistics
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks.contestants import CHAIN, CONTESTANTS, LIMIT

if TYPE_CHECKING:
    from tests.benchmarks.suite import Series

_PACKAGES = ("numpy", "pillow", "ai-edge-litert", "tensorflow", "pyspark", "dask", "scikit-learn", "ray", "daft")


def write_report(series: Sequence[Series], folder: Path) -> None:
    """`benchmarks.md` and `benchmarks.svg` in `folder`."""
    (folder / "benchmarks.md").write_text(markdown(series), encoding="utf-8")
    plot(series, folder / "benchmarks.svg")
    print(f"written: {folder / 'benchmarks.md'}")


def seconds_of(series: Series) -> float:
    """The median: of the whole process, or of the network for the limit, which has nothing around it."""
    return statistics.median(
        each.parts["network"] if series.contestant.limit else each.seconds for each in series.rounds
    )


def markdown(series: Sequence[Series]) -> str:
    """The page."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    rounds = max(len(each.rounds) for each in series)
    lines = [
        "# Benchmarks",
        "",
        f"Measured on {today} by `make benchmark`: {machine()}. Photos of Fruits-360, 33 classes, real weights,",
        f"{rounds} rounds in turn; medians, with the smallest and the largest. Seconds",
        "are of the whole process, from its start to its end. The model was converted before.",
        "",
        "![Images a second, end to end](benchmarks.svg)",
    ]
    for images in sorted({each.images for each in series}):
        table = [each for each in series if each.images == images]
        chain = next((seconds_of(each) for each in table if each.contestant.name == CHAIN), None)
        lines += [
            "",
            f"## {images:,} photos",
            "",
            f"| | seconds | images/s | {CHAIN} is faster by | CPU seconds | largest process, MiB |",
            "|---|---:|---:|---:|---:|---:|",
        ]
        for each in sorted(table, key=seconds_of):
            seconds = seconds_of(each)
            every = [one.parts["network"] if each.contestant.limit else one.seconds for one in each.rounds]
            ratio = f"{seconds / chain:.2f}" if chain else ""
            cpu = statistics.median(one.cpu_seconds for one in each.rounds)
            memory = max(one.peak_memory for one in each.rounds) / 2**20
            lines.append(
                f"| {each.contestant.name} | {seconds:.1f} ({min(every):.1f} to {max(every):.1f}) "
                f"| {each.images / seconds:.0f} | {ratio} | {cpu:.0f} | {memory:.0f} |"
            )
    lines += ["", "## Who is who", "", "| | |", "|---|---|"]
    lines += [f"| {each.name} | {each.what} |" for each in CONTESTANTS]
    lines += ["", f"CPU seconds of {LIMIT} include decoding, which its time does not. Versions: {versions()}.", ""]
    return "\n".join(lines)


def plot(series: Sequence[Series], path: Path) -> None:
    """Images a second, a bar for each contestant and number of photos."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "fruits", "font.size": 10})
    from matplotlib import pyplot

    counts = sorted({each.images for each in series})
    figure, rows = pyplot.subplots(len(counts), 1, figsize=(8, 2.8 * len(counts)), squeeze=False, layout="constrained")
    for images, axes in zip(counts, rows[:, 0], strict=True):
        table = sorted((each for each in series if each.images == images), key=seconds_of, reverse=True)
        rates = [images / seconds_of(each) for each in table]
        colours = ["#9aa5b1" if each.contestant.module else "#2f855a" for each in table]
        bars = axes.barh([each.contestant.name for each in table], rates, color=colours)
        axes.bar_label(bars, [f"{rate:.0f}" for rate in rates], padding=3)
        axes.set(title=f"{images:,} photos, {machine()}", xlabel="images a second, end to end")
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def machine() -> str:
    """The CPU, its usable cores and the memory."""
    from tests.benchmarks.suite import usable

    cpu = platform.processor() or platform.machine()
    facts = Path("/proc/cpuinfo")
    if facts.is_file():
        names = [line.partition(":")[2].strip() for line in facts.read_text().splitlines() if "model name" in line]
        cpu = names[0] if names else cpu
    return f"{usable()} cores of {cpu}"


def versions() -> str:
    """Of Python and of the packages that take part."""
    from importlib.metadata import PackageNotFoundError

    found = [f"Python {platform.python_version()}"]
    for package in _PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue  # its contestant was left out
    return ", ".join(found)
