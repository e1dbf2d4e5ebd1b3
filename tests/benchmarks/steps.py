"""Steps of a benchmark: a process each, in turn, with an estimate of what is left; one's failure stops no other."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.benchmarks.machine import load, usable
from tests.benchmarks.measurements import Measurements, Row
from tests.benchmarks.process import FailedError, Measured


@dataclass(frozen=True, slots=True)
class Step:
    """One round of a subject at a size. `expected`: seconds on two quiet cores, for the estimate alone."""

    table: str
    subject: str
    size: int
    expected: float
    run: Callable[[], Measured]

    @property
    def key(self) -> tuple[str, str, int]:
        """The row its measurement belongs to."""
        return self.table, self.subject, self.size


def in_rounds(steps: Sequence[Step]) -> list[Step]:
    """The first rounds of all, then the second, and so on; within a round in the order given."""
    rounds: list[list[Step]] = []
    seen: Counter[tuple[str, str, int]] = Counter()
    for step in steps:
        number = seen[step.key]
        seen[step.key] += 1
        if number == len(rounds):
            rounds.append([])
        rounds[number].append(step)
    return [step for steps_of_round in rounds for step in steps_of_round]


def expected_seconds(steps: Sequence[Step], *, once_above: float) -> float:
    """Of steps on two quiet cores, where those that take longer than `once_above` have one round."""
    first = {step.key: step.expected for step in steps}
    often = sum(step.expected for step in steps if step.expected <= once_above)
    return often + sum(expected for expected in first.values() if expected > once_above)


def run_steps(
    steps: Sequence[Step], measurements: Measurements, *, once_above: float, minutes: float | None = None
) -> list[Row]:
    """Run all steps, keep what they measure, and return the rows that failed.

    A subject that failed has no further round; neither has one whose last round took more than `once_above` seconds.
    What would not be done within `minutes` of the beginning, as far as one can tell, is left out.
    """
    rows: dict[tuple[str, str, int], Row] = {}
    pace, begun = Pace(), time.monotonic()
    if load() > usable() / 2:
        print(f"This machine is busy (load {load():.1f}): seconds will be those of a busy machine.", flush=True)
    for number, step in enumerate(steps, start=1):
        row = rows.setdefault(step.key, Row(*step.key))
        about = f"[{number}/{len(steps)}] {step.table}: {step.subject}, {step.size:,}, round {len(row.rounds) + 1}"
        end = time.monotonic() - begun + step.expected
        if why := _why_not(row, once_above=once_above, late=minutes is not None and end > minutes * 60):
            print(f"{about}: left out, {why}", flush=True)
            continue
        print(f"{about} ...", flush=True)
        try:
            row.rounds.append(step.run())
            outcome = f"{row.rounds[-1].seconds:.1f} s"
            pace.took(row.rounds[-1].seconds, step.expected)  # not what was prepared for it, once
        except Exception as error:  # whatever it is, the others go on
            row.failure = str(error) if isinstance(error, FailedError) else f"{type(error).__name__}: {error}"
            outcome = f"FAILED: {row.failure}"
        measurements.keep(row)
        done = {key for key, each in rows.items() if _why_not(each, once_above=once_above, late=False)}
        left = expected_seconds([each for each in steps[number:] if each.key not in done], once_above=once_above)
        print(f"{about}: {outcome}; about {pace.of(left) / 60:.0f} min left", flush=True)
    return [row for row in rows.values() if row.failure]


def _why_not(row: Row, *, once_above: float, late: bool) -> str:
    if row.failure:
        return "as it failed before"
    if row.rounds and row.rounds[-1].seconds > once_above:
        return "as one round of it takes long"
    return "as it would end after --minutes" if late else ""


class Pace:
    """How much longer than expected steps take here, so far."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._expected = 0.0

    def took(self, seconds: float, expected: float) -> None:
        """Take in a step."""
        self._seconds += seconds
        self._expected += expected

    def of(self, expected: float) -> float:
        """Seconds that steps will take of which so many were expected."""
        return expected * (self._seconds / self._expected if self._expected else 1.0)


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """The options of every table."""
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="all once, then all again (default: 3)")
    parser.add_argument(
        "--once-above", type=float, default=150, metavar="SECONDS",
        help="what takes longer has one round (default: 150)",
    )  # fmt: skip
    parser.add_argument(
        "--minutes", type=float, metavar="N",
        help="leave out what would not be done by then (default: no limit); every first round comes before a second",
    )  # fmt: skip
    parser.add_argument(
        "--longest", type=float, default=1500, metavar="SECONDS",
        help="what takes longer is stopped, and is a failure (default: 1500)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the order within each round")
