"""The notebook's recipe on Spark, with its features written once instead of computed three times.

binaryFile, a scalar-iterator pandas UDF with Keras' `predict`, MLlib's StandardScaler and PCA, parquet.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator

import numpy as np
import pandas as pd
from PIL import Image
from pyspark.sql.functions import col, element_at, pandas_udf, split

from tests.benchmarks.recipes.arguments import answer, parse
from tests.benchmarks.recipes.mllib import reduce
from tests.benchmarks.recipes.spark_session import local_session


def main() -> None:
    """Run it."""
    recipe = parse()
    session = local_session(recipe.cores)
    weights = recipe.weights

    @pandas_udf("array<float>")
    def featurize(batches: Iterator[pd.Series]) -> Iterator[pd.Series]:
        import keras
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)  # a task a core
        network = keras.applications.MobileNetV2(
            weights=weights, include_top=False, pooling="avg", input_shape=(224, 224, 3)
        )

        def load(content: bytes) -> np.ndarray:
            image = Image.open(io.BytesIO(content)).convert("RGB").resize((224, 224))
            return keras.applications.mobilenet_v2.preprocess_input(np.asarray(image, dtype=np.float32))

        for batch in batches:
            yield pd.Series(list(network.predict(np.stack(batch.map(load)), verbose=0)))

    start = time.perf_counter()
    session.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "1024")
    images = (
        session.read.format("binaryFile")
        .option("pathGlobFilter", "*.jpg")
        .option("recursiveFileLookup", "true")
        .load(str(recipe.photos))
        .withColumn("label", element_at(split(col("path"), "/"), -2))
        .repartition(recipe.cores * 2)
    )
    features = str(recipe.output / "features")
    images.select("path", "label", featurize("content").alias("features")).write.parquet(features)
    featurized = time.perf_counter()
    reduce(session, features, str(recipe.output / "results"))
    done = time.perf_counter()
    answer(session.read.parquet(features).count(), featurize=featurized - start, reduce=done - featurized)
    session.stop()


if __name__ == "__main__":
    main()
