"""`fruits parity-check`: the same images on two engines, and the outputs compared."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="parity-check")(parity_check)


def parity_check(
    source: Annotated[str, typer.Argument(help="Folder or URL of the images.", metavar="SOURCE")],
    images: Annotated[int, typer.Option(help="Size of the sample; chosen by hash, the same each time.", min=1)] = 300,
    engines: Annotated[str, typer.Option(help="The two engines to compare.", metavar="ENGINE,ENGINE")] = "dask,spark",
    components: Annotated[
        str, typer.Option(help="Number of PCA components, or the share of variance to explain.", metavar="128|0.95")
    ] = "128",
    weights: Annotated[
        str, typer.Option(help="Weights of MobileNetV2 without head.", metavar="imagenet|random|FILE")
    ] = "imagenet",
    glob: Annotated[str, typer.Option(help="Which file names are images; upper and lower case differ.")] = "*.jpg",
    shard_size: Annotated[int, typer.Option(help="Images per shard, on average.", min=1)] = 32,
    workers: Annotated[int | None, typer.Option(help="Worker processes of each engine; all cores by default.")] = None,
    output: Annotated[
        str | None, typer.Option(help="Keep the outputs in DIR/ENGINE; by default they are removed.", metavar="DIR")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all figures of the comparisons as JSON.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show the log of Prefect and of the engines.")
    ] = False,
) -> None:
    """Run a sample of SOURCE on Dask and on Spark, and compare what comes out.

    Exit code 0: identical, or equal within the tolerance for other kinds of CPU; 1: different.
    """
    from engines.core.comparison import compare
    from engines.core.errors import InputError
    from flows.commands.parity import show
    from flows.commands.run import parse_components, run_in_terminal
    from flows.settings import RunSettings, check_settings

    names = [name.strip() for name in engines.split(",")]
    if len(set(names)) != 2:
        raise InputError(f"--engines cannot be {engines!r}", "Give two different ones, such as dask,spark.")
    with contextlib.ExitStack() as stack:
        folder = output or stack.enter_context(tempfile.TemporaryDirectory(prefix="parity-check-"))
        settings = [
            check_settings(
                RunSettings(
                    source=source,
                    output=os.path.join(folder, name),
                    engine=name,
                    components=parse_components(components),
                    weights=weights,
                    glob=glob,
                    images=images,
                    shard_size=shard_size,
                    workers=workers,
                )
            )
            for name in names
        ]
        for each in settings:
            # Standard output is for the verdict when a program reads it.
            with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
                run_in_terminal(each, verbose=verbose)
        show(compare(*(each.output for each in settings)), as_json=as_json)
