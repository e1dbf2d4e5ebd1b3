"""Made-up photos: the same each time, in classes that differ."""

from __future__ import annotations

import io
import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from engines.core.errors import InputError, StorageError
from engines.core.sample_photos import class_name, encode_photo
from flows.cli import app
from flows.commands.sample import _write_chunk

PHOTOS = "98b8ac9beb22a3f2e7eed834a6a1d5a6d11d25e6949da1da0d0d7c75c26a551d"
"""sha256 of 400 photos, with the Pillow and numpy of the lock file."""


def sample(folder: Path | str, *options: str) -> str:
    """What the command prints. Raises what it raises."""
    return CliRunner().invoke(app, ["sample", str(folder), *options], catch_exceptions=False).output


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.jpg")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 photos of 11 classes, by the command."""
    folder = tmp_path_factory.mktemp("sample") / "photos"
    assert "150 photos of 11 classes" in sample(folder, "--images", "150", "--classes", "11", "--seed", "3")
    return folder


def test_as_many_photos_and_classes_as_asked_for(folder: Path) -> None:
    files = files_of(folder)
    assert len(files) == 150
    assert {name.split("/")[0] for name in files} == {class_name(kind) for kind in range(11)}
    sizes = [len(list(kind.iterdir())) for kind in folder.iterdir()]
    assert max(sizes) - min(sizes) <= 1
    assert len(set(files.values())) == 150, "no photo twice"
    for content in files.values():
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            assert (image.format, image.size, image.mode) == ("JPEG", (100, 100), "RGB")


def test_equal_seeds_give_equal_photos_and_others_do_not(folder: Path) -> None:
    files = files_of(folder)
    for number in range(0, 150, 13):
        kind, view = number % 11, number // 11
        content = files[f"{class_name(kind)}/{view:05d}.jpg"]
        assert encode_photo(3, number, kind, view) == content
        assert encode_photo(4, number, kind, view) != content


def test_every_class_has_a_name_of_its_own() -> None:
    names = [class_name(kind) for kind in range(1000)]
    assert len(set(names)) == len(names)
    assert len({name.casefold() for name in names}) == len(names), "also where upper and lower case are one"


def test_views_are_more_alike_than_classes() -> None:
    def colour(kind: int, view: int) -> np.ndarray:
        with Image.open(io.BytesIO(encode_photo(0, kind + 10 * view, kind, view))) as image:
            pixels = np.asarray(image, float).reshape(-1, 3)
        return np.median(pixels[pixels.min(axis=1) < 230], axis=0)

    colours = np.array([[colour(kind, view) for view in range(6)] for kind in range(10)])
    within = np.linalg.norm(colours - colours.mean(axis=1, keepdims=True), axis=2).mean()
    centres = colours.mean(axis=1)
    between = np.mean([np.linalg.norm(one - other) for one, other in itertools.combinations(centres, 2)])
    assert between > 3 * within


def test_the_corners_are_white() -> None:
    with Image.open(io.BytesIO(encode_photo(0, 0, 0, 0))) as image:
        pixels = np.asarray(image)
    assert pixels[[0, 0, -1, -1], [0, -1, 0, -1]].min() > 245


def test_a_folder_in_use_is_left_alone(folder: Path) -> None:
    before = files_of(folder)
    with pytest.raises(InputError, match="is not empty"):
        sample(folder)
    assert files_of(folder) == before


def test_an_empty_folder_may_be_used(tmp_path: Path) -> None:
    sample(tmp_path, "--images", "2", "--classes", "2")
    assert len(files_of(tmp_path)) == 2


def test_fewer_photos_than_classes_are_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="3 photos are too few for 4 classes"):
        sample(tmp_path, "--images", "3", "--classes", "4")


def test_a_url_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="cannot be made at s3://bucket/photos"):
        sample("s3://bucket/photos")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        sample(tmp_path / "file" / "photos")


def test_a_photo_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"00000\.jpg: No such file"):
        _write_chunk(str(tmp_path / "removed"), range(1), 1, 0)


def test_the_bytes_do_not_depend_on_the_instructions_of_this_cpu() -> None:
    """On numpy's kernels for AVX-512, for AVX2, and for neither, sines of float32 have other last bits."""
    code = (
        "import hashlib; from engines.core.sample_photos import encode_photo;"
        "print(hashlib.sha256(b''.join(encode_photo(0, n, n % 131, n) for n in range(400))).hexdigest())"
    )
    found = np.show_config(mode="dicts")["SIMD Extensions"]["found"]
    for first in range(len(found) + 1):
        without = {"NPY_DISABLE_CPU_FEATURES": " ".join(found[first:])} if found[first:] else {}
        command = [sys.executable, "-W", "ignore", "-c", code]
        done = subprocess.run(command, env={**os.environ, **without}, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == PHOTOS, f"without {found[first:]}"
