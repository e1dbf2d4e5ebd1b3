"""What a run is asked to do, checked before anything starts."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from engines import EMR_ENGINES, ENGINES
from engines.core.contracts import check_locations, check_max_rejects
from engines.core.errors import InputError
from engines.core.networks.model import RUNTIMES
from engines.core.networks.prepare import check_weights_file
from engines.core.reduce.pca import check_components
from flows.credentials import resolve_emr


@dataclass(frozen=True, slots=True)
class RunSettings:
    """One run of the chain. `components` is a number of components or a share in (0, 1)."""

    source: str
    output: str
    engine: str = "dask"
    components: float = 128
    weights: str = "imagenet"
    runtime: str = "litert"
    glob: str = "*.jpg"
    per_class: int | None = None
    images: int | None = None
    shard_size: int = 512
    workers: int | None = None
    scheduler: str | None = None
    max_rejects: float = 0.01
    emr: dict[str, Any] | None = None
    """Settings of the EMR engines, see `engines.emr.settings.EmrSettings`; completed by `check_settings`."""


def check_settings(settings: RunSettings) -> RunSettings:
    """The settings with normalized locations. Raises InputError for the first one that cannot work."""
    if settings.engine not in ENGINES:
        raise InputError(f"unknown engine {settings.engine!r}", f"Choose one of: {', '.join(ENGINES)}.")
    if settings.runtime not in RUNTIMES:
        raise InputError(f"unknown runtime {settings.runtime!r}", f"Choose one of: {', '.join(RUNTIMES)}.")
    components = check_components(settings.components)
    check_max_rejects(settings.max_rejects)
    for name in ("per_class", "images", "shard_size", "workers"):
        value = getattr(settings, name)
        if value is not None and value < 1:
            raise InputError(f"{name.replace('_', '-')} cannot be {value}", "Give a whole number from 1.")
    if settings.engine in EMR_ENGINES and settings.runtime != "litert":
        raise InputError(
            f"the runtime {settings.runtime} does not run on EMR: the jobs' archive holds LiteRT only",
            "Leave out --runtime, or choose another engine.",
        )
    emr = resolve_emr(settings.emr) if settings.engine in EMR_ENGINES else None
    source, output = check_locations(settings.source, settings.output)
    weights = settings.weights
    if weights not in ("imagenet", "random"):
        weights = os.path.abspath(os.path.expanduser(weights))
        check_weights_file(weights)
    return replace(settings, source=source, output=output, components=components, weights=weights, emr=emr)


def cache_folder() -> Path:
    """Where converted models are kept: FRUITS_CACHE, or the user's cache folder."""
    folder = os.environ.get("FRUITS_CACHE")
    return Path(folder) if folder else user_cache_path("fruit-features")
