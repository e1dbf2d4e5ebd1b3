"""The session of the notebook's recipes: Spark on the cores of this machine."""

from __future__ import annotations

import os
import sys

from pyspark.sql import SparkSession


def local_session(cores: int) -> SparkSession:
    """A session whose driver has room for MLlib's matrices."""
    os.environ["PYSPARK_PYTHON"] = sys.executable
    return (
        SparkSession.builder.master(f"local[{cores}]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.memory", "4g")
        .config("spark.sql.parquet.writeLegacyFormat", "true")
        .config("spark.log.level", "ERROR")
        .getOrCreate()
    )
