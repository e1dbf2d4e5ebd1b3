"""Engines: the same four stages on a laptop, on a cluster, and on AWS. Light to import; see `engines.base`."""

from engines.registry import ENGINES, create_engine, engine_row

__all__ = ["ENGINES", "create_engine", "engine_row"]
