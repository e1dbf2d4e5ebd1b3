"""What every worker process of the local Dask cluster does first (`preload` of distributed)."""

from __future__ import annotations

import os
from typing import Any


def dask_setup(_worker: Any) -> None:
    """Leave the process group of the run.

    Ctrl-C and a cancellation signal the whole group. Workers that died of it would be replaced at once by their
    nannies, for the cluster to close them again. Outside the group they end when the cluster closes, or with the run's
    process: each watches a pipe to it.
    """
    os.setpgid(0, 0)
