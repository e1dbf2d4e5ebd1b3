"""The primitives of `engines.map_engine` on dask.distributed."""
