"""What a person needs of a failed task: the cause, and the shard. Shared by the engines, so that all say it alike."""

from __future__ import annotations

from typing import Any

from engines.core.errors import StageError, TransientError


def place_of(item: Any) -> str:
    """What a task was working on, by the item it was given: `shard 1a2b`, or `a group of shards`."""
    shard = getattr(getattr(item, "shard", None), "id", None) or getattr(item, "shard", None)
    return f"shard {shard}" if shard else "a group of shards"


def workers_died(item: Any, times: int) -> TransientError:
    """`times` workers died over one item, and the engine gave up on it."""
    return TransientError(
        f"{place_of(item)}: {times} workers died while they worked on it",
        "Most often memory: give the machine more, or use fewer --workers or a smaller --shard-size.",
    )


def connection_lost(detail: object, item: Any = None) -> TransientError:
    """The workers, or what leads them, cannot be reached any more."""
    where = "" if item is None else f"{place_of(item)}: "
    return TransientError(
        f"{where}the connection to the workers was lost ({detail})", "Run again: what was done is kept."
    )


def task_failed(item: Any, kind: str, detail: object) -> StageError:
    """A task raised an error of the type named `kind` that is none of ours."""
    hint = "Install fruit-features[worker] on the workers." if kind == "ModuleNotFoundError" else ""
    return StageError(f"{place_of(item)}: {kind}: {detail}", hint)
