"""What a run is asked to do, checked before anything starts. Checking changes nothing, here or anywhere."""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from pathlib import Path

from platformdirs import user_cache_path

from engines import engine_row
from engines.core.contracts import check_locations, check_max_rejects
from engines.core.errors import InputError
from engines.core.networks.canary import check_arithmetic
from engines.core.networks.model import RUNTIMES
from engines.core.networks.prepare import check_weights_file
from engines.core.networks.table import network_named
from engines.core.reduce.pca import check_components
from flows.options import RunSettings
from flows.signatures import declared


def complete(settings: RunSettings, *, config: str | None = None) -> RunSettings:
    """The settings with those of the engine filled in from the environment and the config file, as plain data.

    Raises InputError for an unknown engine, and for settings that cannot be.
    """
    row = engine_row(settings.engine)
    if row.settings is None:
        return replace(settings, emr=None)
    from engines.emr.settings import load_settings

    if isinstance(settings.emr, str):
        raise TypeError(f"the block {settings.emr} has to be read first")
    return replace(settings, emr=asdict(load_settings(settings.emr, config=config)))


def check_settings(settings: RunSettings) -> RunSettings:
    """The settings with normalized locations. Raises InputError for the first one that cannot work."""
    for name in ("source", "output"):
        if not getattr(settings, name):
            raise InputError(f"the parameter {name} is missing", "Name a folder or a URL such as s3://bucket/prefix.")
    row = engine_row(settings.engine)
    network = network_named(settings.network)
    if settings.runtime not in RUNTIMES:
        raise InputError(f"unknown runtime {settings.runtime!r}", f"Choose one of: {', '.join(RUNTIMES)}.")
    check_arithmetic(settings.arithmetic)
    components = check_components(settings.components, network.features)
    check_max_rejects(settings.max_rejects)
    check_counts(settings)
    if settings.runtime not in row.runtimes:
        raise InputError(
            f"the runtime {settings.runtime} does not run on {settings.engine}: "
            f"its workers have {', '.join(row.runtimes)} only",
            "Leave out --runtime, or choose another engine.",
        )
    source, output = check_locations(settings.source, settings.output)
    weights = settings.weights
    if weights not in ("imagenet", "random"):
        weights = os.path.abspath(os.path.expanduser(weights))
        check_weights_file(weights)
    return replace(settings, source=source, output=output, components=components, weights=weights)


def check_counts(settings: object) -> None:
    """Raise InputError unless every number is at least, or above, what its declaration says."""
    for each in declared(type(settings)):
        value = getattr(settings, each.name)
        name = each.name.replace("_", "-")
        if each.option.minimum is not None and isinstance(value, int) and value < each.option.minimum:
            raise InputError(f"{name} cannot be {value}", f"Give a whole number from {each.option.minimum}.")
        if each.option.above is not None and isinstance(value, int | float) and not value > each.option.above:
            raise InputError(f"{name} cannot be {value:g}", f"Give a number above {each.option.above:g}.")


def cache_folder() -> Path:
    """Where converted models are kept: FRUITS_CACHE, or the user's cache folder."""
    folder = os.environ.get("FRUITS_CACHE")
    return Path(folder) if folder else user_cache_path("fruit-features")
