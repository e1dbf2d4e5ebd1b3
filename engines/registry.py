"""Engines by name, imported only when one is asked for."""

from __future__ import annotations

import importlib
from typing import Any

from engines.base import Engine
from engines.core.errors import InputError

ENGINES = {
    "dask": ("engines.dask_engine", "DaskEngine", "dask"),
    "spark": ("engines.spark_engine", "SparkEngine", "spark"),
}
"""Name -> module, class, and the extra of the distribution that installs what it needs."""


def create_engine(name: str, **options: Any) -> Engine:
    """The engine called `name`; `options` are its constructor's. Raises InputError for an unknown or missing one."""
    if name not in ENGINES:
        raise InputError(f"unknown engine {name!r}", f"Choose one of: {', '.join(ENGINES)}.")
    module, kind, extra = ENGINES[name]
    try:
        engine = getattr(importlib.import_module(module), kind)
    except ModuleNotFoundError as error:
        raise InputError(
            f"the engine {name} needs the package {error.name}, which is not installed",
            f"Install fruit-features[{extra}].",
        ) from error
    created: Engine = engine(**options)
    return created
