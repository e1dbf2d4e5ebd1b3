"""What one writes without a cluster: `tf.data`, Keras' `predict` on all cores, scikit-learn, one process."""

from __future__ import annotations

import time

import keras
import tensorflow as tf

from tests.benchmarks.recipes.arguments import answer, parse
from tests.benchmarks.recipes.scikit import reduce


def main() -> None:
    """Run it."""
    recipe = parse()
    start = time.perf_counter()
    network = keras.applications.MobileNetV2(
        weights=recipe.weights, include_top=False, pooling="avg", input_shape=(224, 224, 3)
    )
    paths = sorted(recipe.photos.glob("*/*.jpg"))

    def load(path: tf.Tensor) -> tf.Tensor:
        # Rounded and cut to [0, 255] like Pillow's; without that, a fifth of a feature is another.
        image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3, dct_method="INTEGER_ACCURATE")
        pixels = tf.clip_by_value(tf.round(tf.image.resize(image, (224, 224), method="bicubic")), 0, 255)
        return pixels / 127.5 - 1

    files = tf.data.Dataset.from_tensor_slices([str(path) for path in paths])
    photos = files.map(load, num_parallel_calls=tf.data.AUTOTUNE).batch(64).prefetch(tf.data.AUTOTUNE)
    features = network.predict(photos, verbose=0)
    featurized = time.perf_counter()
    reduce([str(path) for path in paths], features, recipe)
    answer(len(paths), featurize=featurized - start, reduce=time.perf_counter() - featurized)


if __name__ == "__main__":
    main()
