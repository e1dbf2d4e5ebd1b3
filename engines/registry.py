"""Engines by name, imported only when one is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from engines.base import Engine
from engines.core.errors import InputError
from engines.emr.settings import settings_from

ENGINES = {
    "dask": ("engines.dask.engine", "DaskEngine", "dask"),
    "spark": ("engines.spark.engine", "SparkEngine", "spark"),
    "emr-serverless": ("engines.emr.engine", "EmrServerlessEngine", "aws"),
    "emr-cluster": ("engines.emr.engine", "EmrClusterEngine", "aws"),
}
"""Name -> module, class, and the extra of the distribution that installs what it needs."""

EMR_ENGINES = ("emr-serverless", "emr-cluster")
"""Engines that take `emr` settings, and the id of the `run` their jobs belong to."""


def create_engine(name: str, *, emr: Mapping[str, Any] | None = None, run: str | None = None, **options: Any) -> Engine:
    """The engine called `name`; `options` are its constructor's. Raises InputError for an unknown or missing one.

    `emr`: settings of the EMR engines (`engines.emr.settings.EmrSettings`, as plain data), and `run` the run whose jobs
    they start or find again; other engines take neither and ignore them.
    """
    engine = import_engine(name)
    if name in EMR_ENGINES:
        options |= {"settings": settings_from(emr) if emr is not None else None, "run": run}
    return engine(**options)


def import_engine(name: str) -> type[Engine]:
    """The class of the engine called `name`, imported with all it needs. Raises InputError as `create_engine`."""
    if name not in ENGINES:
        raise InputError(f"unknown engine {name!r}", f"Choose one of: {', '.join(ENGINES)}.")
    module, kind, extra = ENGINES[name]
    try:
        engine: type[Engine] = getattr(importlib.import_module(module), kind)
    except ModuleNotFoundError as error:
        raise InputError(
            f"the engine {name} needs the package {error.name}, which is not installed",
            f"Install fruit-features[{extra}].",
        ) from error
    return engine
