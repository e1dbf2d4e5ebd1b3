"""What workers have found: the nearest rows of a band, as a file."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from engines.core import tables
from engines.core.neighbours import Nearest
from engines.core.proof.reading import read_table
from engines.core.quality.plan import Band, Plan, Space
from engines.core.storage import open_storage

Int64 = npt.NDArray[np.int64]


def nearest_table(rows: Int64, nearest: Nearest) -> pa.Table:
    """The nearest rows of `rows` as tables.NEAREST."""
    width = nearest.rows.shape[1]
    offsets = np.arange(len(rows) + 1, dtype=np.int32) * width
    columns = [
        pa.ListArray.from_arrays(offsets, pa.array(values.ravel())) for values in (nearest.rows, nearest.distances)
    ]
    return pa.table([rows, *columns], schema=tables.NEAREST)


def read_nearest(plan: Plan, space: Space) -> tuple[Int64, Nearest]:
    """All questions of a space, and their answers, in the order of the rows."""
    found = [_read_band(plan.output, band) for band in plan.bands_of(space)]
    return np.concatenate([rows for rows, _ in found]), Nearest(
        np.concatenate([nearest.rows for _, nearest in found]),
        np.concatenate([nearest.distances for _, nearest in found]),
    )


def _read_band(output: str, band: Band) -> tuple[Int64, Nearest]:
    table = read_table(open_storage(output), band.key)
    rows, distances = (
        table[name].combine_chunks().flatten().to_numpy().reshape(table.num_rows, -1)
        for name in ("neighbours", "distances")
    )
    return table["row"].to_numpy(), Nearest(rows, distances)
