"""Engines: the same four stages on a laptop, on a cluster, and on AWS. Light to import; see `engines.base`."""

from engines.registry import EMR_ENGINES, ENGINES, create_engine

__all__ = ["EMR_ENGINES", "ENGINES", "create_engine"]
