"""`fruits demo`: the main job on made-up photos, with nothing to prepare."""

from __future__ import annotations

import os
import shutil
from typing import Annotated

import typer

_IMAGES, _CLASSES = 655, 131
_SHARD_SIZE = 64


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="demo")(demo)


def demo(
    folder: Annotated[str, typer.Argument(help="Where photos and results go.", metavar="DIR")] = "demo",
) -> None:
    """Make 655 photos of 131 classes, featurize and reduce them on Dask, and say where to look.

    Asks for ImageNet weights. Where they cannot be downloaded, the demo (and only the demo) goes on with random ones.
    """
    from flows.commands.run import run_in_terminal
    from flows.commands.sample import sample
    from flows.options.run import RunSettings

    photos, output = os.path.join(folder, "photos"), os.path.join(folder, "output")
    complete = os.path.join(folder, "photos-complete")
    if not os.path.isfile(complete):
        shutil.rmtree(photos, ignore_errors=True)  # of a demo that was stopped half-way
        sample(photos, images=_IMAGES, classes=_CLASSES, seed=0)
        with open(complete, "w", encoding="utf-8") as file:
            file.write(f"{_IMAGES} photos of {_CLASSES} classes\n")
    settings = RunSettings(source=photos, output=output, weights=weights_or_random(), shard_size=_SHARD_SIZE)
    run_in_terminal(settings)
    typer.echo(f"\nLook at it: open {os.path.abspath(output)}/report.html")
    typer.echo("Your own photos: fruits run SOURCE OUTPUT (fruits run --help)")


def weights_or_random() -> str:
    """`imagenet`, or `random` where ImageNet's weights cannot be had; says so."""
    from rich.text import Text

    from engines.core.errors import DownloadError
    from engines.core.networks.prepare import prepare_model
    from flows.checks import cache_folder
    from flows.views.console import console

    terminal = console(stderr=True, soft_wrap=True)
    with terminal.status("preparing MobileNetV2 with ImageNet weights (once, about half a minute)"):
        try:
            prepare_model("imagenet", "litert", cache_folder())
        except DownloadError as error:
            terminal.print(Text(error.message, style="yellow"))
            terminal.print("It goes on with random weights: the chain is the same, the features mean nothing.")
            return "random"
    return "imagenet"
