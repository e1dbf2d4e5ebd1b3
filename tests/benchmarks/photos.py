"""Photos and features that benchmarks run on, made when they are first asked for and removed at the end."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from engines.core.networks.prepare import prepare_model
from engines.core.sample_photos import class_name
from flows.checks import cache_folder
from tests.benchmarks.process import FailedError, run_process
from tests.conftest import TEST_DATA, TEST_WEIGHTS, write_photos

FRUITS = str(Path(sys.executable).with_name("fruits"))
CLASSES = 131
"""As in Fruits-360."""

_LONGEST_PREPARATION = 3600.0


class Workshop:
    """A folder of its own for all that is made; a context manager."""

    def __init__(self, folder: Path | None = None) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="fruits-benchmark-", dir=folder)
        self.folder = Path(self._temporary.name)
        self._made: set[str] = set()
        self._weights = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._temporary.cleanup()

    @property
    def weights(self) -> str:
        """Of MobileNetV2 without head; converted already, which happens once in a user's life."""
        if not self._weights:
            self._weights = str(TEST_WEIGHTS) if TEST_WEIGHTS.is_file() else "random"
            prepare_model(self._weights, "litert", cache_folder())
        return self._weights

    def once(self, name: str, make: Callable[[Path], object]) -> Path:
        """A folder of this name, which `make` fills when it is first asked for."""
        folder = self.folder / name
        if name not in self._made:
            print(f"  preparing {name} ...", flush=True)
            make(folder)
            self._made.add(name)
        return folder

    def real_photos(self, images: int) -> Path:
        """Links to real photos, the same number of each class; copies of made-up ones where no real ones are here."""
        return self.once(f"photos-{images}", lambda folder: spread(folder, images))

    def made_up_photos(self, images: int) -> Path:
        """What `fruits sample` makes."""
        command = [FRUITS, "sample", "--images", str(images), "--classes", str(min(CLASSES, images))]
        return self.once(f"made-up-{images}", lambda folder: _quietly([*command, str(folder)]))

    def empty_photos(self, images: int) -> Path:
        """Files of no bytes that are called like photos: to be listed, not to be read."""
        return self.once(f"empty-{images}", lambda folder: _touch(folder, images))

    def simulated_features(self, images: int) -> Path:
        """An output with a catalog of `empty_photos`, and features of them as featurize would have written them."""
        command = [sys.executable, "-m", "tests.benchmarks.simulate", str(self.empty_photos(images))]
        return self.once(f"features-{images}", lambda folder: _quietly([*command, str(folder), self.weights]))


def spread(folder: Path, images: int) -> None:
    """Link `images` real photos, as many of each class, or write made-up ones. Raises FailedError for other numbers."""
    if not TEST_DATA.is_dir():
        write_photos(folder, images, classes=33)
        return
    classes = {path: sorted(path.glob("*.jpg")) for path in sorted(TEST_DATA.iterdir()) if path.is_dir()}
    per_class, rest = divmod(images, len(classes))
    if rest or not 0 < per_class <= min(map(len, classes.values())):
        raise FailedError(f"{images} photos cannot be as many of each of the {len(classes)} classes in {TEST_DATA}")
    for kind, photos in classes.items():
        (folder / kind.name).mkdir(parents=True)
        for photo in photos[:: len(photos) // per_class][:per_class]:
            (folder / kind.name / photo.name).symlink_to(photo)


def _touch(folder: Path, images: int) -> None:
    for kind in range(min(CLASSES, images)):
        (folder / class_name(kind)).mkdir(parents=True)
    for number in range(images):
        kind, view = number % CLASSES, number // CLASSES
        with (folder / class_name(kind) / f"{view:06d}.jpg").open("xb"):
            pass


def _quietly(command: list[str]) -> None:
    run_process(command, longest=_LONGEST_PREPARATION, sample=False)
