"""What all workers of the local Dask cluster need: imported once, by the server that they are forked from.

Importing these starts no thread, which a fork would not survive.
"""

from __future__ import annotations

import distributed.nanny
import distributed.worker  # noqa: F401

import engines.core.stages.featurize
import engines.core.stages.moments
import engines.core.stages.project  # noqa: F401
from engines.core.arrow_alone import without_pandas

without_pandas()
