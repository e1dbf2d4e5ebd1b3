"""`make benchmark`: the chain, its limits and its baselines, measured in turn; then benchmarks.md and its plots.

Every measurement is a process of its own, seen from outside: seconds from its start to its end, CPU seconds and memory
of all it starts. What is measured is kept in tests/benchmarks/measured, so tables may be measured one by one
(--tables), and what is not measured again stays. One that fails is said in its table, and the exit code is 1; the rest
goes on. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.measurements import Measurements
from tests.benchmarks.photos import Workshop
from tests.benchmarks.process import ROOT
from tests.benchmarks.report import write_report
from tests.benchmarks.steps import add_common_options, expected_seconds, in_rounds, run_steps

TABLES = ("start_up", "end_to_end", "reduce", "s3", "growth", "same_work")
"""Modules of tests.benchmarks.tables, in the order they run: the quick and those that say most first."""

MEASURED = Path(__file__).with_name("measured")


def main(only: Sequence[str] = ()) -> None:
    """Measure and report; with `only` as the command line of these tables."""
    tables = only or TABLES
    modules = {name: importlib.import_module(f"tests.benchmarks.tables.{name}") for name in tables}
    description = modules[only[0]].__doc__ if only else __doc__
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, prog="make benchmark"
    )
    if not only:
        parser.add_argument(
            "--tables", nargs="+", choices=TABLES, default=TABLES, metavar="TABLE",
            help=f"which are measured, of: {', '.join(TABLES)} (default: all)",
        )  # fmt: skip
        parser.add_argument("--report-only", action="store_true", help="measure nothing; write the report again")
    add_common_options(parser)
    parser.add_argument(
        "--into", type=Path, metavar="DIR",
        help="where measurements, report and plots are written, in place of the repository's",
    )  # fmt: skip
    parser.add_argument("--scratch", type=Path, metavar="DIR", help="for what is made, gigabytes (default: TMPDIR)")
    for name, module in modules.items():
        module.add_options(parser.add_argument_group(f"table {name}", module.__doc__))
    chosen = parser.parse_args()
    measurements = Measurements(chosen.into or MEASURED)
    failed = []
    if only or not chosen.report_only:
        with Workshop(chosen.scratch) as workshop:
            plan = in_rounds(
                [step for name in (only or chosen.tables) for step in modules[name].steps(chosen, workshop)]
            )
            minutes = expected_seconds(plan, once_above=chosen.once_above) / 60
            print(f"{len(plan)} steps, about {minutes:.0f} minutes on 2 quiet cores", flush=True)
            failed = run_steps(plan, measurements, once_above=chosen.once_above, minutes=chosen.minutes)
    write_report(measurements, chosen.into or ROOT)
    for row in failed:
        print(f"failed: {row.table}: {row.subject}, {row.size:,}: {row.failure}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
