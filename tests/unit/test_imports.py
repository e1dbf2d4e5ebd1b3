"""Importing is cheap: a worker, and a command that has little to do, load nothing that they do not need."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from flows.chain import run_chain
from tests.conftest import write_photos
from tests.parity.chain import SequentialEngine

ENGINES = {"pyspark", "py4j", "dask", "distributed", "prefect", "boto3", "tensorflow", "keras"}
NUMBERS = {"numpy", "pyarrow", "pandas", "PIL", "obstore", "ai_edge_litert", "scipy", "sklearn"}
HEAVY = ENGINES | NUMBERS


def loaded_by(statement: str) -> set[str]:
    """The top-level modules a new process has loaded after `statement`."""
    script = f"""
import atexit, json, sys
names = lambda: sorted({{name.split(".")[0] for name, module in sys.modules.items() if module is not None}})
atexit.register(lambda: print(json.dumps(names())))
{statement}
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def loaded_by_command(*arguments: object) -> set[str]:
    """The same of the program `fruits`."""
    words = ["fruits", *map(str, arguments)]
    return loaded_by(f"sys.argv = {words!r}\nfrom flows.start import main\nmain()")


def test_the_engines_package_loads_nothing_heavy() -> None:
    loaded = loaded_by("import engines")
    assert "engines" in loaded
    assert not loaded & HEAVY


@pytest.mark.parametrize(
    "module", ["engines.core.stages.project", "engines.core.stages.featurize", "engines.map_engine"]
)
def test_what_a_worker_runs_needs_no_tensorflow_and_no_engine(module: str) -> None:
    loaded = loaded_by(f"import {module}")
    assert "numpy" in loaded
    assert not loaded & (ENGINES | {"pandas", "typer", "rich"})


def test_help_is_shown_by_what_names_the_options_alone() -> None:
    loaded = loaded_by_command("--help")
    assert {"typer", "flows"} <= loaded
    assert not loaded & (HEAVY | {"pydantic", "jinja2", "asyncio", "multiprocessing"})


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A few photos, and the output of a run that has done all of them."""
    source = write_photos(tmp_path_factory.mktemp("few"), images=12, classes=3)
    output = tmp_path_factory.mktemp("done")

    class Engine(SequentialEngine):
        name = "dask"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flows.chain.create_engine", lambda *_, **__: Engine())
        run_chain(str(source), str(output), weights="random", components=4)
    return source, output


def test_a_record_is_shown_without_what_reads_tables(done: tuple[Path, Path]) -> None:
    loaded = loaded_by_command("show", done[1])
    assert "rich" in loaded
    assert not loaded & (HEAVY | {"jinja2", "asyncio", "multiprocessing"})


def test_a_run_with_nothing_to_do_imports_nothing_that_works(done: tuple[Path, Path]) -> None:
    source, output = done
    record = (output / "run.json").read_bytes()
    loaded = loaded_by_command("run", source, output, "--no-prefect", "--weights", "random", "--components", 4)
    assert (output / "run.json").read_bytes() == record
    assert {"numpy", "pyarrow"} <= loaded
    assert not loaded & (ENGINES | {"pandas", "ai_edge_litert", "scipy", "sklearn", "obstore"})


def test_dask_is_heard_by_who_listens_to_the_run_though_it_is_imported_later() -> None:
    script = """
import logging
from engines.dask.engine import DaskEngine
from flows.engine_log import running

engine = DaskEngine(workers=1)
logger = logging.getLogger("distributed")
with running(engine):
    before = logger.level, logger.propagate, logger.handlers[:]
    engine.broadcast(None)
    import sys
    assert "distributed" in sys.modules
    assert (logger.level, logger.propagate, logger.handlers) == before
"""
    subprocess.run([sys.executable, "-c", script], check=True)
