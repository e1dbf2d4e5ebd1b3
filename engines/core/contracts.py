"""The promises every run checks, and the checks made before it starts."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping

from engines.core.errors import ChangedError, ContractError, InputError, RejectsError
from engines.core.layout import REJECTS
from engines.core.rejects import PASSING, REASONS
from engines.core.sources import open_source
from engines.core.storage import is_folder, normalize_location, open_storage

_RUN_AGAIN = "run again once nothing writes to the source"
_ASK = "This is a defect: please report it with the output's run record and catalog."


def check_locations(source: str, output: str) -> tuple[str, str]:
    """The normalized source and output.

    Raises InputError for a source that is no folder or cannot be listed, an output inside the source, or one that
    cannot be written.
    """
    source, output = normalize_location(source), normalize_location(output)
    open_source(source).check()
    inner, outer = (os.path.realpath(place) if is_folder(place) else place for place in (output, source))
    if inner == outer or inner.startswith(f"{outer.rstrip('/')}/"):
        raise InputError(f"the output {output} is inside the source {source}", "Choose an output outside of it.")
    open_storage(output).check_writable()
    return source, output


def check_featurized(listed: int, featurized: int, rejected: int) -> None:
    """Raise ContractError unless every listed image was featurized or rejected, once."""
    if listed != featurized + rejected:
        raise ContractError(
            f"{listed:,} images were listed, but {featurized:,} featurized and {rejected:,} rejected", _ASK
        )


def check_projected(featurized: int, projected: int) -> None:
    """Raise ContractError unless every featurized image was projected, once."""
    if projected != featurized:
        raise ContractError(f"{featurized:,} images were featurized, but {projected:,} projected", _ASK)


def check_read_as_listed(rejected: Mapping[str, int]) -> None:
    """Raise ChangedError when images were rejected for not being what was listed; `rejected` counts by reason."""
    if passing := sum(rejected.get(reason, 0) for reason in PASSING):
        raise ChangedError(f"{passing:,} images were replaced or removed since they were listed", _RUN_AGAIN)


def check_max_rejects(share: float) -> None:
    """Raise InputError unless `share` is in [0, 1]."""
    if not 0.0 <= share <= 1.0:
        raise InputError(f"max-rejects cannot be {share:g}", "Give a share from 0 to 1, such as 0.01 for 1 %.")


def check_rejects(
    listed: int,
    rejected: dict[str, int],
    max_rejects: float,
    output: str,
    examples: Callable[[], Mapping[str, list[str]]] = dict,
) -> None:
    """Raise RejectsError when more than the share `max_rejects` of the images was rejected.

    `examples`: asked then for the paths of some of them, by reason.
    """
    total = sum(rejected.values())
    # A quotient on both sides: `max_rejects * listed` may be rounded to just below the number that is allowed.
    if listed and total / listed > max_rejects:
        paths = examples()
        reasons = "; ".join(
            f"{count:,} {reason} ({REASONS[reason]})"
            + (f", such as {', '.join(paths[reason])}" if paths.get(reason) else "")
            for reason, count in rejected.items()
        )
        for_good = sum(count for reason, count in rejected.items() if reason not in PASSING)
        advice = "mend or remove the files" if for_good / listed > max_rejects else _RUN_AGAIN
        raise RejectsError(
            f"{total:,} of {listed:,} images were rejected, more than the {max_rejects:.2%} allowed: {reasons}",
            f"All paths are in {output}/{REJECTS}/. The features of the others are kept: {advice}, "
            f"or go on as they are with --max-rejects {min(1.0, math.ceil(total / listed * 10_000) / 10_000):g}.",
        )
