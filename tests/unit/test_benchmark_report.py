"""The arithmetic of the benchmarks' report: what is shown is what was measured, and nothing that was not."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("psutil", reason="psutil is not installed")

from tests.benchmarks.contestants import DASK, LIMIT, NOTEBOOK, SPARK
from tests.benchmarks.measurements import Measurements, Row
from tests.benchmarks.process import FailedError, Measured, Memory, run_process
from tests.benchmarks.report import figure, markdown
from tests.benchmarks.steps import Step, expected_seconds, in_rounds, run_steps
from tests.benchmarks.tables import growth, s3
from tests.benchmarks.targets import TARGETS, Spread, quotient, spread_of, worst

MIB = 2**20


def row(table: str, subject: str, size: int, *seconds: float, **parts: float) -> Row:
    """A round for each of `seconds`, with the same parts and memory."""
    memory = Memory(driver=100 * MIB, jvm=50 * MIB, worker=200 * MIB, sum=400 * MIB)
    return Row(table, subject, size, [Measured(each, 1.0, memory, dict(parts)) for each in seconds])


@pytest.fixture
def measured(tmp_path: Path) -> Measurements:
    """The chain takes 50 s for 6,600 photos on Dask and 60 s on Spark; the network 33, the notebook 600."""
    measured = Measurements(tmp_path)
    for each in (
        row("end_to_end", DASK, 6600, 49, 50, 52, featurize=40),
        row("end_to_end", SPARK, 6600, 60, featurize=41),
        row("end_to_end", NOTEBOOK, 6600, 600),
        row("end_to_end", LIMIT, 6600, 45, network=33),
        row(s3.TABLE, s3.FOLDER, 6600, 60, featurize=45),
        row(s3.TABLE, s3.S3, 6600, 61, featurize=50, requests=6607, server_seconds=2),
        row(s3.TABLE, s3.FAULTS, 6600, 76.25, featurize=65, requests=7310, server_seconds=2, faults=731),
        row(growth.TABLE, growth.subject(DASK, growth.CATALOG), 1_000_000, 300),
        row(growth.TABLE, growth.subject(SPARK, growth.CATALOG), 1_000_000, 300),
    ):
        measured.keep(each)
    return measured


def value_of(what: str, measured: Measurements) -> Spread | None:
    (target,) = (target for target in TARGETS if what in target.what)
    return target.measure(measured)


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("6,600 photos end to end against the network", 33 / 50),
        ("6,600 photos against the notebook", 600 / 60),  # the slower engine
        ("S3 at 30 ms", 45 / 50),
        ("one in ten fails", 1.25),
        ("Spark against Dask, featurize", 40 / 41),
        ("Spark against Dask, whole process", 50 / 60),
        ("driver", 150),  # Python and the JVM together
    ],
)
def test_a_target_is_held_to_the_median_of_what_was_measured(
    what: str, expected: float, measured: Measurements
) -> None:
    found = value_of(what, measured)
    assert found is not None
    assert found.median == pytest.approx(expected)


def test_what_was_not_measured_is_said_and_not_made_up(measured: Measurements) -> None:
    assert value_of("1,320 photos", measured) is None
    assert "| 1,320 photos against the notebook, the slower engine | not measured | >= 9.00x |  |" in markdown(measured)


def test_the_spread_of_a_ratio_is_the_widest_that_its_rounds_allow(measured: Measurements) -> None:
    found = value_of("6,600 photos end to end", measured)
    assert found == Spread(pytest.approx(33 / 50), pytest.approx(33 / 52), pytest.approx(33 / 49))
    assert quotient(None, Spread(1, 1, 1)) is None
    assert spread_of([]) is None
    assert spread_of([3, 1, 2]) == Spread(2, 1, 3)
    assert worst([Spread(1, 1, 1), None], at_least=True) is None  # an engine that was not measured reached nothing
    assert worst([Spread(1, 1, 1), Spread(3, 3, 3)], at_least=False) == Spread(3, 3, 3)


def test_reached_and_missed_are_told_apart(measured: Measurements) -> None:
    page = markdown(measured)
    assert "| 6,600 photos on S3 at 30 ms per request against a folder, featurize | 0.90 | >= 0.90 | yes |" in page
    assert "| 6,600 photos end to end against the network alone | 0.66 (0.63 to 0.67) | >= 0.80 | no |" in page


def test_measurements_are_read_as_they_were_kept_and_a_row_replaces_its_former_self(
    measured: Measurements, tmp_path: Path
) -> None:
    measured.keep(row("end_to_end", DASK, 6600, 40, featurize=30))
    again = Measurements(tmp_path)
    assert again.rows("end_to_end") == measured.rows("end_to_end")
    assert len(again.rows("end_to_end")) == 4
    found = again.find("end_to_end", DASK)
    assert found is not None
    assert found.values(lambda each: each.seconds) == [40]
    assert markdown(again) == markdown(measured)


def test_a_failure_stops_no_other_and_is_said_in_the_page(tmp_path: Path) -> None:
    ran = []

    def fails() -> Measured:
        ran.append("fails")
        raise FailedError("exit code 3: no room")

    def works() -> Measured:
        ran.append("works")
        return Measured(1.0)

    steps = [Step("end_to_end", name, 10, 1, run) for name, run in [("a", fails), ("b", works)] * 2]
    measured = Measurements(tmp_path)
    failed = run_steps(steps, measured, once_above=100)
    assert ran == ["fails", "works", "works"]  # what failed is not tried again
    assert [row.subject for row in failed] == ["a"]
    assert "end_to_end: a, 10: exit code 3: no room" in markdown(measured)


def test_what_takes_long_has_one_round(tmp_path: Path) -> None:
    measured = Measurements(tmp_path)
    run_steps([Step("end_to_end", "slow", 10, 1, lambda: Measured(200.0))] * 3, measured, once_above=100)
    assert [len(row.rounds) for row in measured.rows("end_to_end")] == [1]


def test_first_rounds_come_before_second_ones_and_what_would_end_late_is_left_out(tmp_path: Path) -> None:
    steps = [Step("end_to_end", name, 10, seconds, lambda: Measured(1.0)) for name, seconds in [("a", 1), ("b", 600)]]
    steps = in_rounds([steps[0], steps[0], steps[1], steps[1]])
    assert [step.subject for step in steps] == ["a", "b", "a", "b"]
    assert expected_seconds(steps, once_above=1000) == 1202
    assert expected_seconds(steps, once_above=100) == 602  # the long one once
    measured = Measurements(tmp_path)
    run_steps(steps, measured, once_above=1000, minutes=5)
    assert [(row.subject, len(row.rounds)) for row in measured.rows("end_to_end")] == [("a", 2)]


def test_a_process_that_fails_or_hangs_is_ended_and_says_why() -> None:
    with pytest.raises(FailedError, match="exit code 3: no room"):
        run_process(["sh", "-c", "echo no room; exit 3"], longest=60)
    with pytest.raises(FailedError, match="stopped after"):
        run_process(["sleep", "600"], longest=0.1)


@pytest.mark.parametrize(
    ("value", "shown"), [(1234.5, "1,234"), (123.4, "123"), (12.34, "12.3"), (1.234, "1.23"), (0.296, "0.30")]
)
def test_figures_have_the_digits_that_count(value: float, shown: str) -> None:
    assert figure(value) == shown
