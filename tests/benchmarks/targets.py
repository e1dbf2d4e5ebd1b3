"""What was aimed at, and what was reached: computed from the measurements, never by hand."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.benchmarks.contestants import DASK, ENGINES, LIMIT, NOTEBOOK, SPARK
from tests.benchmarks.measurements import Measurements, Row
from tests.benchmarks.process import Measured
from tests.benchmarks.tables import growth, reduce, s3, start_up

MEBIBYTE = 2**20


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, smallest and largest of a number over rounds."""

    median: float
    smallest: float
    largest: float


@dataclass(frozen=True, slots=True)
class Target:
    """`measure` gives None where something was not measured. `bound`: at most, or with `at_least` at least so much."""

    what: str
    bound: float
    unit: str
    measure: Callable[[Measurements], Spread | None]
    at_least: bool = False

    def reached(self, value: float) -> bool:
        """Whether a value is as aimed at."""
        return value >= self.bound if self.at_least else value <= self.bound


def spread_of(values: Sequence[float]) -> Spread | None:
    """The spread of a number over rounds; None without any."""
    return Spread(statistics.median(values), min(values), max(values)) if values else None


def quotient(above: Spread | None, below: Spread | None) -> Spread | None:
    """The quotient of the medians; its spread is the widest there can be."""
    if above is None or below is None:
        return None
    return Spread(above.median / below.median, above.smallest / below.largest, above.largest / below.smallest)


def worst(spreads: Sequence[Spread | None], *, at_least: bool) -> Spread | None:
    """Of several that all have to reach a bound the one that is furthest from it; None unless all were measured."""
    if not spreads or any(each is None for each in spreads):
        return None
    there = [each for each in spreads if each is not None]
    return min(there, key=lambda each: each.median) if at_least else max(there, key=lambda each: each.median)


def seconds_of(row: Row | None) -> Spread | None:
    """Of the whole process; for the limit of its network, around which there is nothing."""
    if row is None:
        return None
    return spread_of(row.values(lambda each: each.parts["network"] if row.subject == LIMIT else each.seconds))


def part_of(row: Row | None, *names: str) -> Spread | None:
    """Seconds of parts of a process, together."""
    return None if row is None else spread_of(row.values(lambda each: sum(each.parts[name] for name in names)))


def rate(row: Row | None, seconds: Spread | None) -> Spread | None:
    """Photos a second."""
    return None if row is None or seconds is None else quotient(Spread(row.size, row.size, row.size), seconds)


def network_rate(measured: Measurements) -> Spread | None:
    """Photos a second of the network alone, at the largest number it was measured at."""
    row = measured.find("end_to_end", LIMIT)
    return rate(row, seconds_of(row))


def against_network(table: str, subject: str, size: int, *parts: str) -> Callable[[Measurements], Spread | None]:
    """The rate of whole runs, or of parts of them, as a share of the network's."""

    def measure(measured: Measurements) -> Spread | None:
        row = measured.find(table, subject, size)
        return quotient(rate(row, part_of(row, *parts) if parts else seconds_of(row)), network_rate(measured))

    return measure


def against_notebook(size: int) -> Callable[[Measurements], Spread | None]:
    """How many times faster than the notebook the slower engine is."""

    def measure(measured: Measurements) -> Spread | None:
        notebook = seconds_of(measured.find("end_to_end", NOTEBOOK, size))
        engines = [quotient(notebook, seconds_of(measured.find("end_to_end", name, size))) for name in ENGINES]
        return worst(engines, at_least=True)

    return measure


def _reduced(measured: Measurements) -> Spread | None:
    mllib = part_of(measured.find(reduce.TABLE, reduce.MLLIB, 90_483), "reduce")
    chain = part_of(measured.find(reduce.TABLE, DASK, 90_483), "fit", "project")
    return quotient(mllib, chain)


def _fit(measured: Measurements) -> Spread | None:
    alone = part_of(measured.find(reduce.TABLE, reduce.IN_MEMORY, 90_483), "fit")
    return quotient(part_of(measured.find(reduce.TABLE, DASK, 90_483), "fit"), alone)


def _s3(measured: Measurements) -> Spread | None:
    folder, bucket = (part_of(measured.find(s3.TABLE, name, 6600), "featurize") for name in (s3.FOLDER, s3.S3))
    return quotient(folder, bucket)


def _faults(measured: Measurements) -> Spread | None:
    faulty, sound = (seconds_of(measured.find(s3.TABLE, name, 6600)) for name in (s3.FAULTS, s3.S3))
    return quotient(faulty, sound)


def _start(subject: str) -> Callable[[Measurements], Spread | None]:
    return lambda measured: seconds_of(measured.find(start_up.TABLE, subject, 6600))


def _memory(what: str, of: Callable[[Measured], int], size: int) -> Callable[[Measurements], Spread | None]:
    def measure(measured: Measurements) -> Spread | None:
        rows = [measured.find(growth.TABLE, growth.subject(name, what), size) for name in ENGINES]
        peaks = [spread_of(row.values(lambda each: of(each) / MEBIBYTE)) if row else None for row in rows]
        return worst(peaks, at_least=False)

    return measure


def _spark_against_dask(*parts: str) -> Callable[[Measurements], Spread | None]:
    def measure(measured: Measurements) -> Spread | None:
        rows = [measured.find("end_to_end", name, 6600) for name in (DASK, SPARK)]
        return quotient(*(part_of(row, *parts) if parts else seconds_of(row) for row in rows))

    return measure


def _worker(measured: Measured) -> int:
    return measured.memory.worker


def _driver(measured: Measured) -> int:
    return measured.memory.driver + measured.memory.jvm


TARGETS = (
    Target("`fruits run` with nothing to do, 6,600 photos", 2, "s", _start(start_up.NOTHING_TO_DO)),
    Target("command to first featurized photo, model cached", 4, "s", _start(start_up.FIRST_PHOTO)),
    Target(
        "6,600 photos end to end against the network alone",
        0.8,
        "",
        against_network("end_to_end", DASK, 6600),
        at_least=True,
    ),
    Target(
        "featurize stage at 90,483 photos against the network alone",
        0.9,
        "",
        against_network(growth.TABLE, growth.subject(DASK, growth.PHOTOS), 90483, "featurize"),
        at_least=True,
    ),
    Target(
        "90,483 photos end to end against the network alone",
        0.85,
        "",
        against_network(growth.TABLE, growth.subject(DASK, growth.PHOTOS), 90483),
        at_least=True,
    ),
    Target("1,320 photos against the notebook, the slower engine", 9, "x", against_notebook(1320), at_least=True),
    Target("6,600 photos against the notebook, the slower engine", 14, "x", against_notebook(6600), at_least=True),
    Target("fit, project and write at 90,483 x 1280 against MLlib", 15, "x", _reduced, at_least=True),
    Target("fit against numpy's syrk and eigh in memory", 2, "x", _fit),
    Target("6,600 photos on S3 at 30 ms per request against a folder, featurize", 0.9, "", _s3, at_least=True),
    Target("6,600 photos on S3 of whose requests one in ten fails, against none, whole process", 1.5, "x", _faults),
    Target("largest worker, 10,000 photos, either engine", 300, "MiB", _memory(growth.PHOTOS, _worker, 10_000)),
    Target("largest worker, 90,483 photos, either engine", 300, "MiB", _memory(growth.PHOTOS, _worker, 90_483)),
    Target(
        "driver (with Spark's JVM) at a million rows, either engine",
        1000 * 1000 * 1000 / MEBIBYTE,
        "MiB",
        _memory(growth.CATALOG, _driver, 1_000_000),
    ),
    Target("Spark against Dask, featurize, 6,600 photos", 0.95, "", _spark_against_dask("featurize"), at_least=True),
    Target("Spark against Dask, whole process, 6,600 photos", 0.8, "", _spark_against_dask(), at_least=True),
    Target("`fruits --help`", 0.3, "s", _start(start_up.HELP)),
    Target("`fruits show`", 0.4, "s", _start(start_up.SHOW)),
)
