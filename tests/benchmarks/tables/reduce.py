"""Features to results: fit, project and write at 90,483 x 1280, against MLlib, and against numpy and pyarrow alone."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.benchmarks.contestants import ENGINES
from tests.benchmarks.machine import usable
from tests.benchmarks.photos import Workshop
from tests.benchmarks.process import FailedError, Measured, answer_of, run_process
from tests.benchmarks.steps import Step

TABLE = "reduce"
MLLIB = "MLlib"
IN_MEMORY = "numpy, pyarrow alone"
_EXPECTED = {MLLIB: 240.0, IN_MEMORY: 30.0}
_EXPECTED_CHAIN = 60.0


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of this table."""
    parser.add_argument(
        "--rows", type=int, default=90483, metavar="N", help="of made-up features (default: 90483; 6 KB of disk each)"
    )


def steps(chosen: argparse.Namespace, workshop: Workshop) -> Sequence[Step]:
    """Each once in a round, in another order each time."""
    order = random.Random(chosen.seed)
    commands = {name: _chain(engine) for name, engine in ENGINES.items()} | {MLLIB: _mllib, IN_MEMORY: _in_memory}
    return [
        Step(
            TABLE,
            name,
            chosen.rows,
            _EXPECTED.get(name, _EXPECTED_CHAIN) * chosen.rows / 90483,
            _run(command, chosen.rows, workshop, chosen.longest),
        )
        for _ in range(chosen.rounds)
        for name, command in order.sample(list(commands.items()), len(commands))
    ]


def reduce_command(source: Path, output: Path, engine: str) -> list[str]:
    """Index, fit and project of the chain over simulated features."""
    module = "tests.benchmarks.recipes.reduce_chain"
    return [sys.executable, "-m", module, str(source), str(output), engine, "--cores", str(usable())]


def _chain(engine: str) -> Callable[[Path, Path, Path], list[str]]:
    return lambda source, output, _: reduce_command(source, output, engine)


def _mllib(_: Path, output: Path, results: Path) -> list[str]:
    return _recipe("mllib", output, results)


def _in_memory(_: Path, output: Path, results: Path) -> list[str]:
    return _recipe("in_memory", output, results)


def _recipe(name: str, output: Path, results: Path) -> list[str]:
    module = f"tests.benchmarks.recipes.{name}"
    return [sys.executable, "-m", module, str(output / "features"), str(results), "--cores", str(usable())]


def _run(
    command: Callable[[Path, Path, Path], list[str]], rows: int, workshop: Workshop, longest: float
) -> Callable[[], Measured]:
    def run() -> Measured:
        results = workshop.folder / "reduced"
        try:
            features = workshop.simulated_features(rows)
            measured, printed = run_process(command(workshop.empty_photos(rows), features, results), longest=longest)
        finally:
            shutil.rmtree(results, ignore_errors=True)
            results.unlink(missing_ok=True)
        measured.parts.update(answer_of(printed))
        if measured.parts["images"] != rows:
            raise FailedError(f"it did {measured.parts['images']:.0f} of {rows} rows")
        return measured

    return run


if __name__ == "__main__":
    from tests.benchmarks.suite import main

    main([TABLE])
