"""Images for parity, and what the sequential engine makes of them, once per session."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from engines.core.networks.model import Model
from engines.core.sample_photos import encode_photo
from tests.archives import KINDS, photos_of
from tests.conftest import TEST_DATA, write_photos
from tests.parity.chain import (
    Run,
    SequentialEngine,
    labelled_features,
    made_up_features,
    run_chain,
    run_featurize,
    run_fit,
    run_neighbours,
)

COMPONENTS = 128
SHARD_SIZE = 24


@dataclass(frozen=True)
class Images:
    """A source, and how many of each class are taken."""

    source: Path
    per_class: int | None


@pytest.fixture(scope="session")
def images(request: pytest.FixtureRequest) -> Images:
    """About 150 photos: real ones where they are there."""
    if TEST_DATA.is_dir():
        return Images(TEST_DATA, 5)
    return Images(request.getfixturevalue("photos"), None)


@pytest.fixture(scope="session")
def odd_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Names beyond ASCII, a file that is no image beside each photo, and a folder without any photo."""
    source = tmp_path_factory.mktemp("odd") / "früchte 🍎 水果"
    for number in range(12):
        folder = source / f"Äpfel {number % 3} 'süß'"
        folder.mkdir(parents=True, exist_ok=True)
        photo = encode_photo(7, number, number % 3, number)
        (folder / f"{number:02d} a naïve % # ?.jpg").write_bytes(photo)
        (folder / f"{number:02d} b ломаный.jpg").write_bytes((b"", photo[:700], b"no image")[number % 3])
    barren = source / "空"
    barren.mkdir()
    for number in range(40):
        (barren / f"{number:02d}.jpg").write_bytes(b"")
    return source


@pytest.fixture(scope="session")
def reference(images: Images, model: Model, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The photos through the sequential engine."""
    return run_chain(
        SequentialEngine(),
        images.source,
        tmp_path_factory.mktemp("reference") / "output",
        model,
        components=COMPONENTS,
        shard_size=SHARD_SIZE,
        per_class=images.per_class,
    )


@pytest.fixture(scope="session")
def odd_reference(odd_source: Path, model: Model, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The odd files through the sequential engine."""
    output = tmp_path_factory.mktemp("odd-reference") / "output"
    return run_chain(SequentialEngine(), odd_source, output, model, components=4, shard_size=8)


@dataclass(frozen=True)
class Archived:
    """The same 15 files in archives of every kind, and the features that the sequential engine makes of the folder."""

    locations: dict[str, str]
    features: list[tuple[str, bytes]]


@pytest.fixture(scope="session")
def archived(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Archived:
    folder = write_photos(tmp_path_factory.mktemp("archived") / "photos", images=12, classes=3)
    for number, place in enumerate(sorted(folder.iterdir())):
        whole = next(iter(place.iterdir())).read_bytes()
        (place / "9.jpg").write_bytes((b"", whole[: len(whole) // 2], b"no image")[number])
    photos = photos_of(folder)
    locations = {kind: str(write(tmp_path_factory.mktemp(kind), photos)) for kind, write in KINDS.items()}
    output = tmp_path_factory.mktemp("archived-reference") / "output"
    run_featurize(SequentialEngine(), str(folder), output, model, shard_size=8)
    return Archived(locations, labelled_features(output))


class FitReferences:
    """What the sequential engine fits to made-up features, computed once per case."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._runs: dict[str, Run] = {}

    def __call__(self, case: str, shards, components: float) -> Run:
        if case not in self._runs:
            self._runs[case] = run_fit(SequentialEngine(), shards, self._folder / case, components)
        return self._runs[case]


@pytest.fixture(scope="session")
def fit_reference(tmp_path_factory: pytest.TempPathFactory) -> FitReferences:
    return FitReferences(tmp_path_factory.mktemp("fit-reference"))


@pytest.fixture(scope="session")
def neighbours_reference(fit_reference: FitReferences) -> dict[str, str]:
    """The sha256 of what the sequential engine finds for a check of 60 rows in 3 parts."""
    return run_neighbours(SequentialEngine(), fit_reference("neighbours", np.split(made_up_features(60), [25, 40]), 10))


@pytest.fixture(scope="session", autouse=True)
def _java_is_quiet() -> None:
    """Spark's own scripts must not find another Spark."""
    os.environ.pop("SPARK_HOME", None)
