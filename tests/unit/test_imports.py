"""Importing is cheap: a worker, and a command line that only shows help, load nothing they do not need."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

HEAVY = {
    "tensorflow",
    "keras",
    "pyspark",
    "dask",
    "distributed",
    "prefect",
    "boto3",
    "obstore",
    "numpy",
    "pyarrow",
    "PIL",
}


def loaded_by(statement: str) -> set[str]:
    """The top-level modules a new process has loaded after `statement`."""
    script = f"{statement}\nimport json, sys\nprint(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_the_engines_package_loads_nothing_heavy() -> None:
    loaded = loaded_by("import engines")
    assert "engines" in loaded
    assert not loaded & HEAVY


def test_importing_the_engines_package_takes_less_than_half_a_second() -> None:
    durations = []
    for _ in range(3):  # the best of three: other programs may be running
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import engines"], check=True)
        durations.append(time.perf_counter() - start)
    assert min(durations) < 0.5


@pytest.mark.parametrize(
    "module", ["engines.core.stages.project", "engines.core.stages.featurize", "engines.map_engine"]
)
def test_what_a_worker_runs_needs_no_tensorflow_and_no_engine(module: str) -> None:
    loaded = loaded_by(f"import {module}")
    assert "numpy" in loaded
    assert not loaded & {"tensorflow", "keras", "pyspark", "dask", "distributed", "prefect", "boto3", "typer", "rich"}


def test_the_command_line_starts_without_prefect() -> None:
    loaded = loaded_by("import flows.cli")
    assert not loaded & {"tensorflow", "keras", "pyspark", "dask", "distributed", "prefect"}
