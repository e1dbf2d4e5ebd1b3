"""Engines by name, with what each can do: imported only when one is asked for.

A new engine is a file, a row here, and a test class that inherits the parity suite.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engines.base import Engine
from engines.core.errors import InputError
from engines.patience import Patience


@dataclass(frozen=True, slots=True)
class EngineRow:
    """Where an engine is, and its abilities.

    `extra` of the distribution installs what it needs. `runtimes` are those its workers have. `takes_workers`: a number
    of `workers` or the address of a `scheduler` may be asked for. `settings`: module and class of further settings it
    takes, as plain data. `remote`: its stages are jobs of a `run` on machines that cost money and outlive this process;
    `engines.emr.control` stops them.
    """

    module: str
    kind: str
    extra: str
    runtimes: tuple[str, ...] = ("litert", "tensorflow")
    takes_workers: bool = True
    settings: tuple[str, str] | None = None
    remote: bool = False


_EMR_SETTINGS = ("engines.emr.settings", "settings_from")

ENGINES: Mapping[str, EngineRow] = {
    "dask": EngineRow("engines.dask.engine", "DaskEngine", "dask"),
    "spark": EngineRow("engines.spark.engine", "SparkEngine", "spark"),
    "emr-serverless": EngineRow(
        "engines.emr.engine",
        "EmrServerlessEngine",
        "aws",
        runtimes=("litert",),
        takes_workers=False,
        settings=_EMR_SETTINGS,
        remote=True,
    ),
    "emr-cluster": EngineRow(
        "engines.emr.engine",
        "EmrClusterEngine",
        "aws",
        runtimes=("litert",),
        takes_workers=False,
        settings=_EMR_SETTINGS,
        remote=True,
    ),
}


def engine_row(name: str) -> EngineRow:
    """The row of the engine called `name`; nothing is imported. Raises InputError for an unknown one."""
    if name not in ENGINES:
        raise InputError(f"unknown engine {name!r}", f"Choose one of: {', '.join(ENGINES)}.")
    return ENGINES[name]


def create_engine(
    name: str,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    settings: Mapping[str, Any] | None = None,
    run: str | None = None,
    patience: Patience | None = None,
) -> Engine:
    """The engine called `name`.

    `settings`: what the engine takes besides, as plain data; `run`: the run that its remote jobs belong to, and are
    found again by. Engines without these abilities ignore both. `patience`: how long work is kept up whose workers are
    lost. Raises InputError for an engine that is unknown or not installed, and for workers or a scheduler where it
    takes none.
    """
    row = engine_row(name)
    engine = import_engine(name)
    options: dict[str, Any] = {"patience": patience}
    if row.takes_workers:
        options |= {"workers": workers, "scheduler": scheduler}
    elif workers is not None or scheduler is not None:
        raise InputError(
            f"{name} has neither workers nor a scheduler of yours",
            "Set executors, executor_cores and the like in the [emr] table, or by --emr executors=4.",
        )
    if row.settings is not None and settings is not None:
        module, check = row.settings
        options["settings"] = getattr(importlib.import_module(module), check)(settings)
    if row.remote:
        options["run"] = run
    return engine(**options)


def import_engine(name: str) -> type[Engine]:
    """The class of the engine called `name`, imported with all it needs. Raises InputError as `create_engine`."""
    row = engine_row(name)
    try:
        engine: type[Engine] = getattr(importlib.import_module(row.module), row.kind)
    except ModuleNotFoundError as error:
        raise InputError(
            f"the engine {name} needs the package {error.name}, which is not installed",
            f"Install fruit-features[{row.extra}].",
        ) from error
    return engine
