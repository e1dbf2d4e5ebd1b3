"""`lance`: a Lance dataset, which LanceDB and others search."""

from __future__ import annotations

import itertools
import os

import pyarrow as pa

from engines.published.export.base import Exported, missing_package


def write_lance(rows: Exported, folder: str) -> None:
    """Write `results.lance`: the results, with vectors of a fixed length. Raises InputError without `pylance`."""
    try:
        import lance
    except ModuleNotFoundError as error:
        raise missing_package("pylance", error) from error
    parts = rows.fixed_width_parts()
    first = next(parts)
    schema = first.schema.with_metadata({name: str(value) for name, value in rows.facts.items()})
    batches = itertools.chain.from_iterable(part.to_batches() for part in itertools.chain([first], parts))
    reader = pa.RecordBatchReader.from_batches(
        schema, (pa.RecordBatch.from_arrays(b.columns, schema=schema) for b in batches)
    )
    lance.write_dataset(reader, os.path.join(folder, "results.lance"))
