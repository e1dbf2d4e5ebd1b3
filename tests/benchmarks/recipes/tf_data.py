"""What one writes without a cluster: `tf.data`, Keras' `predict` on all cores, scikit-learn, one process."""

from __future__ import annotations

import time

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from tests.benchmarks.recipes.arguments import COMPONENTS, answer, parse


def main() -> None:
    """Run it."""
    recipe = parse()
    start = time.perf_counter()
    network = keras.applications.MobileNetV2(
        weights=recipe.weights, include_top=False, pooling="avg", input_shape=(224, 224, 3)
    )
    paths = sorted(recipe.photos.glob("*/*.jpg"))

    def load(path: tf.Tensor) -> tf.Tensor:
        image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        return tf.image.resize(image, (224, 224), method="bicubic") / 127.5 - 1

    files = tf.data.Dataset.from_tensor_slices([str(path) for path in paths])
    photos = files.map(load, num_parallel_calls=tf.data.AUTOTUNE).batch(64).prefetch(tf.data.AUTOTUNE)
    features = network.predict(photos, verbose=0)
    featurized = time.perf_counter()
    reduced = PCA(COMPONENTS, svd_solver="covariance_eigh").fit_transform(StandardScaler().fit_transform(features))
    recipe.output.mkdir()
    table = {
        "path": [str(path) for path in paths],
        "label": [path.parent.name for path in paths],
        "pcaFeatures": list(reduced.astype(np.float32)),
    }
    pq.write_table(pa.table(table), recipe.output / "results.parquet")
    answer(len(paths), featurize=featurized - start, reduce=time.perf_counter() - featurized)


if __name__ == "__main__":
    main()
