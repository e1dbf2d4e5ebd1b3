"""What runs on the Dask workers, and what each of the local cluster does first (`preload` of distributed)."""

from __future__ import annotations

import os
import pickle
from typing import Any

from engines.core.arrow_alone import without_pandas


def dask_setup(_worker: Any) -> None:
    """Leave the process group of the run.

    Ctrl-C and a cancellation signal the whole group. Workers that died of it would be replaced at once by their
    nannies, for the cluster to close them again. Outside the group they end when the cluster closes, or with the run's
    process: each watches a pipe to it.
    """
    os.setpgid(0, 0)
    without_pandas()


def unpack(packed: bytes) -> Any:
    """What was packed: the task that has a value on the workers."""
    return pickle.loads(packed)  # noqa: S301 - of the engine, over the connection that every task comes by


def run_packed(packed: bytes, value: Any) -> Any:
    """The task that calls a packed (function, item) with the item and `value`."""
    function, item = unpack(packed)
    return function(item, value)
