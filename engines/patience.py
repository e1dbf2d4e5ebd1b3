"""How long an engine keeps at work whose workers are lost."""

from __future__ import annotations

from dataclasses import dataclass

TRIES = 3
LEAST_TRIES = 2
"""The first attempt at a shard takes no precautions; only from the second one on it shows which photo is to blame."""


@dataclass(frozen=True, slots=True)
class Patience:
    """`tries`: how often an item is tried whose worker dies over it. `worker_seconds`: how long a stage waits for a
    worker when none is left; None for as long as the engine has it.
    """

    tries: int = TRIES
    worker_seconds: float | None = None
