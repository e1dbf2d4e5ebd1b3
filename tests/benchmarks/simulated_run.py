"""A published run of many photos with made-up features: what comes after the network, at any size.

The photos are links to real ones (to some hundred made-up ones where there are none), so that whatever shows photos has
some to show. The features of a class lie on a closed curve, as those of a fruit on a turntable do, folded by a random
layer with ReLU. Catalog, shards, PCA, results and record are written by the chain, which finds all features done.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engines.core.index.catalog import read_shard_entries, write_catalog
from engines.core.layout import RECORD
from engines.core.networks.model import Model, publish_model
from engines.core.networks.prepare import prepare_model
from engines.core.output import RunRecord, read_record
from engines.core.sample_photos import class_name
from engines.core.stages.limits import PhotoLimits
from engines.core.stages.shard_files import photos_digest, write_shard
from flows.chain import run_chain
from flows.checks import cache_folder
from flows.options.run import RunSettings
from tests.conftest import TEST_DATA, write_photos

CLASSES = 131
"""As many as Fruits-360 has, in 90,483 photos."""

_LATENT = 64
_HARMONICS = 4


def publish_simulated(folder: Path, images: int, classes: int = CLASSES) -> RunRecord:
    """Photos in `folder/photos`, and their run in `folder/output`, unless it is there already."""
    source, output = folder / "photos", folder / "output"
    if (output / RECORD).exists():
        return read_record(str(output))
    if not source.is_dir():
        link_photos(folder, images, classes)
    model = prepare_model("random", "litert", cache_folder())
    write_features(str(source), str(output), model, classes)
    return run_chain(str(source), str(output), weights="random")


def link_photos(folder: Path, images: int, classes: int) -> None:
    """`folder/photos/CLASS/VIEW.jpg`: links to photos that are here, in turn."""
    originals = sorted(TEST_DATA.glob("*/*.jpg")) if TEST_DATA.is_dir() else []
    originals = originals or sorted(write_photos(folder / "originals", 330, classes=33).glob("*/*.jpg"))
    for kind in range(classes):
        (folder / "photos" / class_name(kind)).mkdir(parents=True)
    for number in range(images):
        kind, view = number % classes, number // classes
        original = originals[(kind * 200 + view) % len(originals)]
        (folder / "photos" / class_name(kind) / f"{view:04d}.jpg").symlink_to(original)


def write_features(source: str, output: str, model: Model, classes: int, seed: int = 0) -> None:
    """The features of every shard, by the writer of the featurize stage. Memory: one shard."""
    settings = RunSettings(source=source, output=output)
    catalog = write_catalog(source, output, settings.selection, settings.labelling)
    publish_model(model, output)
    shapes = ClassShapes(classes, model.network.features, seed)
    digests: dict[Path, bytes] = {}
    for number, shard in enumerate(catalog.shards):
        entries = read_shard_entries(output, shard)
        contents = []
        for entry in entries:
            original = Path(entry.path).resolve()
            if original not in digests:
                digests[original] = hashlib.sha256(original.read_bytes()).digest()
            contents.append(digests[original])
        kinds = np.array([shapes.number(entry.label) for entry in entries])
        views = np.array([int(Path(entry.path).stem) for entry in entries])
        features = shapes.features(kinds, views, np.random.default_rng((seed, number)))
        write_shard(
            output,
            model.fingerprint,
            shard,
            kept=entries,
            features=model.network.grid.snap(features),
            rejects=[],
            photos=photos_digest(contents),
            limits=PhotoLimits(),
        )


class ClassShapes:
    """A closed curve per class in a latent space, and the layer that makes features of its points."""

    def __init__(self, classes: int, features: int, seed: int) -> None:
        chance = np.random.default_rng(seed)
        self._numbers = {class_name(kind): kind for kind in range(classes)}
        self._centres = chance.normal(0, 1.0, (classes, _LATENT))
        self._curves = chance.normal(0, 0.5, (classes, 2 * _HARMONICS, _LATENT))
        self._layer = chance.normal(0, 0.6 / np.sqrt(_LATENT), (_LATENT, features))
        self._bias = chance.normal(-0.2, 0.3, features)

    def number(self, label: str) -> int:
        """Of a class by its name."""
        return self._numbers[label]

    def features(
        self, kinds: npt.NDArray[np.int64], views: npt.NDArray[np.int64], chance: np.random.Generator
    ) -> npt.NDArray[np.float32]:
        """float32[n, features] in [0, 8), for the classes and views of n photos."""
        angles = views[:, np.newaxis] * (2 * np.pi / 690) * np.arange(1, _HARMONICS + 1)
        waves = np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
        points = self._centres[kinds] + np.einsum("nh,nhl->nl", waves, self._curves[kinds])
        values = points @ self._layer + self._bias
        values += chance.normal(0, 0.25, values.shape)
        return np.clip(values, 0, 7.9).astype(np.float32)
