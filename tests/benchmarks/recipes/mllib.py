"""MLlib's StandardScaler and PCA from features in parquet to results in parquet, as the notebook has them."""

from __future__ import annotations

import argparse
import time

from pyspark.ml.feature import PCA, StandardScaler
from pyspark.ml.functions import array_to_vector, vector_to_array
from pyspark.sql import SparkSession

from tests.benchmarks.recipes.arguments import COMPONENTS, answer
from tests.benchmarks.recipes.spark_session import local_session


def reduce(session: SparkSession, features: str, results: str) -> None:
    """Read path, label and `features`, write path, label and pcaFeatures."""
    vectors = session.read.parquet(features).select("path", "label", array_to_vector("features").alias("features"))
    scaler = StandardScaler(withMean=True, withStd=True, inputCol="features", outputCol="standardized").fit(vectors)
    standardized = scaler.transform(vectors)
    pca = PCA(k=COMPONENTS, inputCol="standardized", outputCol="pca").fit(standardized)
    pca.transform(standardized).select(
        "path", "label", vector_to_array("pca", "float32").alias("pcaFeatures")
    ).write.parquet(results)


def main() -> None:
    """`FEATURES RESULTS --cores N`: the session is started before the clock, as the network would have started it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("features")
    parser.add_argument("results")
    parser.add_argument("--cores", type=int, required=True)
    chosen = parser.parse_args()
    session = local_session(chosen.cores)
    session.range(1000).repartition(chosen.cores).count()
    start = time.perf_counter()
    reduce(session, chosen.features, chosen.results)
    seconds = time.perf_counter() - start
    answer(session.read.parquet(chosen.results).count(), reduce=seconds)
    session.stop()


if __name__ == "__main__":
    main()
