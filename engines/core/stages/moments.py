"""The moments of some shards: the workers' half of fit_pca."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from threadpoolctl import threadpool_limits

from engines.core import tables
from engines.core.errors import DamagedError
from engines.core.index.catalog import Shard, read_shard_rows
from engines.core.networks.table import network_named
from engines.core.reduce.moments import Moments, moments_of
from engines.core.stages.shard_files import read_features


@dataclass(frozen=True, slots=True)
class MomentsTask:
    """Some shards whose moments are summed on one worker. `network`: the name of the one their features are of.

    `split`: only the photos of this one are taken; None takes all.
    """

    output: str
    fingerprint: str
    network: str
    shards: list[Shard]
    split: str | None = None


def shard_moments(task: MomentsTask, _: None) -> Moments | list[DamagedError]:
    """The moments of all features of some shards, or what is damaged of them. One shard is in memory at a time."""
    found: list[DamagedError] = []

    def blocks() -> Iterator[npt.NDArray[np.float32]]:
        for shard in task.shards:
            try:
                table = _features(task, shard)
            except DamagedError as error:
                found.append(error)  # all of them are to be known, so that they are done again at once
            else:
                yield tables.to_matrix(table["features"])

    network = network_named(task.network)
    with threadpool_limits(limits=1):
        moments = moments_of(blocks(), network.features, network.grid)
    return found or moments


def _features(task: MomentsTask, shard: Shard) -> pa.Table:
    table = read_features(task.output, task.fingerprint, shard.id)
    if task.split is None:
        return table
    rows = read_shard_rows(task.output, shard)
    taken = rows.filter(pc.equal(rows["split"], task.split))
    return table.filter(pc.is_in(table["path"], taken["path"]))
