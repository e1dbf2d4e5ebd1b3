"""MLlib agrees with the numbers, and everybody reads the results. (scikit-learn is asked for every engine.)"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from pyspark.ml.feature import PCA, StandardScaler
from pyspark.ml.functions import array_to_vector, vector_to_array
from pyspark.sql import SparkSession

from engines.core import tables
from tests.parity.chain import Run
from tests.parity.conftest import COMPONENTS
from tests.parity.suite import TOLERANCE, aligned


@pytest.fixture(scope="module")
def session() -> Iterator[SparkSession]:
    os.environ["PYSPARK_PYTHON"] = sys.executable
    builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    for name, value in {
        "spark.driver.host": "127.0.0.1",
        "spark.driver.memory": "2g",
        "spark.sql.shuffle.partitions": "2",
        "spark.log.level": "ERROR",
    }.items():
        builder = builder.config(name, value)
    interrupt = signal.getsignal(signal.SIGINT)
    session = builder.getOrCreate()
    yield session
    session.stop()
    signal.signal(signal.SIGINT, interrupt)  # pyspark keeps Ctrl-C for a context that is stopped
    del os.environ["PYSPARK_PYTHON"]


def test_outputs_equal_mllib(session: SparkSession, reference: Run) -> None:
    features = session.read.parquet(str(reference.output / "features"))
    vectors = features.select("path", array_to_vector("features").alias("features")).repartition(2).cache()
    scaler = StandardScaler(withMean=True, withStd=True, inputCol="features", outputCol="standardized")
    standardized = scaler.fit(vectors).transform(vectors)
    fitted = PCA(k=COMPONENTS, inputCol="standardized", outputCol="pca").fit(standardized)
    projected = fitted.transform(standardized).select("path", vector_to_array("pca").alias("pca"))
    rows = sorted((row.path, row.pca) for row in projected.collect())
    results = reference.results()
    assert [path for path, _ in rows] == results["path"].to_pylist()
    ours = tables.to_matrix(results["pcaFeatures"]).astype(np.float64)
    theirs = np.array([values for _, values in rows])
    assert np.abs(aligned(ours, theirs) - ours).max() < TOLERANCE * np.abs(ours).max()
    assert sum(fitted.explainedVariance) == pytest.approx(reference.fitted.explained_variance, rel=1e-9)


def test_spark_reads_the_results(session: SparkSession, reference: Run) -> None:
    table = session.read.parquet(str(reference.output / reference.projected.results))
    assert [(field.name, field.dataType.simpleString()) for field in table.schema] == [
        ("path", "string"),
        ("label", "string"),
        ("pcaFeatures", "array<float>"),
    ]
    first = min(table.collect(), key=lambda row: row.path)
    results = reference.results()
    assert table.count() == len(results)
    assert first.asDict() == results.slice(0, 1).to_pylist()[0]


def test_pandas_reads_the_results(reference: Run) -> None:
    table = pd.read_parquet(reference.output / reference.projected.results).sort_values("path")
    results = reference.results()
    assert table["path"].tolist() == results["path"].to_pylist()
    assert np.array_equal(np.stack(table["pcaFeatures"].tolist()), tables.to_matrix(results["pcaFeatures"]))


def test_dask_reads_the_results(reference: Run) -> None:
    dataframe = pytest.importorskip("dask.dataframe", reason="dask.dataframe needs the package dask[dataframe]")
    table = dataframe.read_parquet(str(reference.output / reference.projected.results)).compute(scheduler="sync")
    assert sorted(table["path"]) == reference.results()["path"].to_pylist()
    assert list(table.columns) == ["path", "label", "pcaFeatures"]
