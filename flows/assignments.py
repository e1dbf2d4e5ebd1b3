"""`NAME=VALUE` as a person writes it after an option that may be repeated, and what that means for an engine."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from engines.core.errors import InputError

if TYPE_CHECKING:
    from flows.options.emr import EmrTable


def read_assignments(option: str, texts: Iterable[str] | None, example: str) -> dict[str, str]:
    """The texts of `option` as a mapping. Raises InputError, with an `example`, for a text without `=`."""
    found = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"{option} {text} sets nothing", f"Write {option} NAME=VALUE, such as {option} {example}.")
        found[name.strip()] = value.strip()
    return found


def settings_of_options(engine: str, table: EmrTable, *, max_cost: float | None = None) -> dict[str, Any] | None:
    """What the options of a command say of the engine's settings. Raises InputError for an engine that takes none."""
    from engines import engine_row

    overrides: dict[str, Any] = dict(read_assignments("--emr", table.emr_assignments, "executors=4"))
    overrides |= {} if max_cost is None else {"max_cost": max_cost}
    if overrides and engine_row(engine).settings is None:
        raise InputError(
            f"the engine {engine} takes no EMR settings",
            "Leave out --emr and --max-cost, or use --engine emr-serverless.",
        )
    return overrides or None
