"""`fruits sample`: made-up photos to try things out with."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Annotated

import typer

_PHOTOS_PER_CHUNK = 64


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="sample")(sample)


def sample(
    folder: Annotated[
        str, typer.Argument(help="Where the class folders are made; must be new or empty.", metavar="DIR")
    ],
    images: Annotated[int, typer.Option(help="Number of photos.", min=1)] = 655,
    classes: Annotated[int, typer.Option(help="Number of classes.", min=1)] = 131,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal photos.", min=0)] = 0,
) -> None:
    """Write made-up fruit photos: DIR/CLASS/*.jpg, 100 x 100 pixels, 90,483 of them in about two minutes on 2 cores."""
    from engines.core.errors import InputError
    from engines.core.storage import is_folder, normalize_location
    from flows.views import terminal
    from flows.views.console import console

    folder = normalize_location(folder)
    if not is_folder(folder):
        raise InputError(f"photos cannot be made at {folder}", "Name a local folder.")
    if os.path.isfile(folder) or (os.path.isdir(folder) and os.listdir(folder)):
        raise InputError(f"{folder} is not empty", "Choose a new folder.")
    if classes > images:
        raise InputError(f"{images:,} photos are too few for {classes:,} classes", "Give more --images.")
    _make_class_folders(folder, classes)
    with terminal.progress_bar() as listener:
        from engines.base import Progress

        for done in _write_photos(folder, images, classes, seed):
            listener(Progress("sample", done, images))
    console(soft_wrap=True).print(f"{images:,} photos of {classes:,} classes in {folder}")


def _make_class_folders(folder: str, classes: int) -> None:
    from engines.core.errors import InputError
    from engines.core.sample_photos import class_name

    try:
        for kind in range(classes):
            os.makedirs(os.path.join(folder, class_name(kind)), exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror}", "Choose another folder.") from error


def _write_photos(folder: str, images: int, classes: int, seed: int) -> Iterator[int]:
    """Write all photos with a process per core; yield how many are done."""
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from multiprocessing import get_context

    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        futures = [
            pool.submit(_write_chunk, folder, range(start, min(start + _PHOTOS_PER_CHUNK, images)), classes, seed)
            for start in range(0, images, _PHOTOS_PER_CHUNK)
        ]
        done = 0
        for future in as_completed(futures):
            done += future.result()
            yield done


def _write_chunk(folder: str, numbers: range, classes: int, seed: int) -> int:
    from engines.core.errors import StorageError
    from engines.core.sample_photos import class_name, encode_photo

    for number in numbers:
        kind, view = number % classes, number // classes
        path = os.path.join(folder, class_name(kind), f"{view:05d}.jpg")
        try:
            with open(path, "wb") as file:
                file.write(encode_photo(seed, number, kind, view))
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror or error}", "Remove the folder and run again.") from error
    return len(numbers)
