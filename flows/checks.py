"""What a run is asked to do, checked before anything starts. Checking changes nothing, here or anywhere."""

from __future__ import annotations

import functools
import importlib.util
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import TypeVar

from platformdirs import user_cache_path

from engines import engine_row
from engines.core.contracts import check_locations, check_max_rejects
from engines.core.errors import InputError
from engines.core.frozen import VERSION, find_frozen
from engines.core.index.labelling import check_labelling, split_name
from engines.core.index.metadata import check_metadata_file
from engines.core.networks.choices import check_arithmetic, check_runtime
from engines.core.networks.prepare import check_weights_file
from engines.core.networks.table import network_named
from engines.core.reduce.pca import check_components
from engines.core.storage import normalize_location, open_storage
from flows.engine_log import LOGGER
from flows.home import temporary_folder, why_not_writable
from flows.options.published import CheckSettings
from flows.options.run import RunSettings
from flows.signatures import declared

_DEFAULT_COMPONENTS = next(each.default for each in declared(RunSettings) if each.name == "components")

Settings = TypeVar("Settings", RunSettings, CheckSettings)


def complete(settings: Settings, *, config: str | None = None) -> Settings:
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
    check_runtime(settings.runtime)
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
    check_labelling(settings.labelling)
    fit_split = check_fit_split(settings)
    source, output = check_locations(settings.source, settings.output)
    frozen_pca = settings.frozen_pca
    if frozen_pca is not None:
        frozen_pca = frozen_pca if VERSION.fullmatch(frozen_pca) else normalize_location(frozen_pca)
        components = check_frozen(replace(settings, frozen_pca=frozen_pca), output)
    metadata = check_metadata(settings.metadata)
    weights = settings.weights
    if weights not in ("imagenet", "random"):
        weights = os.path.abspath(os.path.expanduser(weights))
        check_weights_file(weights)
    return replace(
        settings,
        source=source,
        output=output,
        components=components,
        weights=weights,
        glob=list(settings.selection.glob) or None,
        exclude=list(settings.selection.exclude) or None,
        keep_columns=list(settings.labelling.keep_columns) or None,
        metadata=metadata,
        fit_split=fit_split,
        frozen_pca=frozen_pca,
    )


def check_frozen(settings: RunSettings, output: str) -> int:
    """The number of components of the frozen PCA. Raises InputError where there is none, or other ones are asked."""
    if settings.fit_split is not None:
        raise InputError(
            "a frozen PCA is not fitted to a split", "Leave out --fit-split, or leave out --frozen-pca to fit anew."
        )
    k = len(find_frozen(str(settings.frozen_pca), output).read().components)
    if settings.components not in (k, _DEFAULT_COMPONENTS):
        raise InputError(
            f"the frozen PCA has {k:,} components, not {settings.components:g}",
            "Leave out --components, or leave out --frozen-pca to fit anew.",
        )
    return k


def check_fit_split(settings: RunSettings) -> str | None:
    """The name of the split to fit to. Raises InputError where photos have no splits."""
    if settings.fit_split is None:
        return None
    if not settings.labelling.has_splits:
        raise InputError(
            f"there are no splits to fit to {settings.fit_split!r}",
            "Say where they come from, such as --split-depth 1 for SOURCE/train/...",
        )
    return split_name(settings.fit_split)


def check_metadata(location: str | None) -> str | None:
    """The normalized location of the metadata, which this process reads on any engine.

    Raises InputError for a file that is not there.
    """
    return None if location is None else check_metadata_file(location)


def check_quality_settings(settings: CheckSettings) -> CheckSettings:
    """The settings with a normalized location. Raises InputError for the first one that cannot work."""
    if not settings.output:
        raise InputError("the parameter output is missing", "Name a folder or URL of published results.")
    engine_row(settings.engine)
    check_counts(settings)
    if settings.split_depth == 0:
        raise InputError("--split-depth cannot be 0", "1 is the first folder below the source, -1 the photo's own.")
    if settings.min_accuracy is not None and not 0 <= settings.min_accuracy <= 1:
        raise InputError(f"min-accuracy cannot be {settings.min_accuracy:g}", "Give a share from 0 to 1, such as 0.97.")
    if importlib.util.find_spec("sklearn") is None:
        raise InputError(
            "the linear probe and the map need the package scikit-learn, which is not installed",
            "Install fruit-features[check].",
        )
    output = normalize_location(settings.output)
    open_storage(output).check_writable()
    return replace(settings, output=output)


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
    """Where converted models are kept: FRUITS_CACHE, the user's cache folder, or else a temporary one, with a notice.

    Raises InputError for a FRUITS_CACHE that cannot be written.
    """
    named = os.environ.get("FRUITS_CACHE")
    if named:
        if why := why_not_writable(Path(named)):
            raise InputError(f"FRUITS_CACHE={named} cannot be used ({why})", "Set it to a folder that can be written.")
        return Path(named)
    folder = Path(user_cache_path("fruit-features"))
    return _temporary_cache(why) if (why := why_not_writable(folder)) else folder


@functools.cache
def _temporary_cache(why: str) -> Path:
    folder = temporary_folder()
    LOGGER.warning("converted models are kept in %s (%s); set HOME or FRUITS_CACHE to keep them", folder, why)
    return folder
