"""What a person needs of a failed task: the cause, and the shard. Shared by the engines, so that all say it alike."""

from __future__ import annotations

import re
from typing import Any

from engines.core.errors import StageError, TransientError


def place_of(item: Any) -> str:
    """What a task was working on, by the item it was given: `shard 1a2b`, or `a group of shards`."""
    shard = _shard_of(item)
    return f"shard {shard}" if shard else "a group of shards"


def _shard_of(item: Any) -> str | None:
    shard = getattr(item, "shard", None)
    return getattr(shard, "id", shard)


def death(item: Any, cause: str) -> str:
    """What is said when an item's worker died and it is tried again. `cause`: as the system says it, or ""."""
    return f"{place_of(item)}: its worker died{_of(cause)}; trying again"


def workers_died(item: Any, times: int, cause: str) -> StageError:
    """`times` workers died over one item, and the engine gave up on it. `cause`: as the system says it, or ""."""
    output, shard = getattr(item, "output", None), _shard_of(item)
    photos = f" `fruits shard {output} {shard}` lists its photos." if output and shard else ""
    if not cause or _MEMORY.search(cause):
        advice = "Most often memory: give the machine more, or use fewer --workers or a smaller --shard-size."
    else:
        advice = "What was done is kept: the same command goes on from there."
    return StageError(f"{place_of(item)}: {times} workers died while they worked on it{_of(cause)}", advice + photos)


_MEMORY = re.compile(r"memory|signal 9|SIGKILL|exit code 137|unknown signal", re.IGNORECASE)
"""Causes that are, or most often are, a lack of memory."""


def _of(cause: str) -> str:
    if "SIGALRM" in cause:
        return " (a photo took longer than its time limit)"
    return f" ({cause})" if cause else ""


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
