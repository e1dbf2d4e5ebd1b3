"""`fruits parity-check`: the same images on two engines, and the outputs compared."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from typing import Annotated

import typer

from flows.commands import options


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="parity-check")(parity_check)


def parity_check(
    source: options.Source,
    images: Annotated[int, typer.Option(help="Size of the sample; chosen by hash, the same each time.", min=1)] = 300,
    engines: Annotated[str, typer.Option(help="The two engines to compare.", metavar="ENGINE,ENGINE")] = "dask,spark",
    components: options.Components = "128",
    weights: options.Weights = "imagenet",
    glob: options.Glob = "*.jpg",
    shard_size: options.ShardSize = 32,
    workers: options.Workers = None,
    output: Annotated[
        str | None, typer.Option(help="Keep the outputs in DIR/ENGINE; by default they are removed.", metavar="DIR")
    ] = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Run a sample of SOURCE on Dask and on Spark, and compare what comes out.

    Exit code 0: identical, or equal within the tolerance for other kinds of CPU; 1: different.
    """
    from engines.core.compare.outputs import compare
    from engines.core.errors import InputError
    from flows.commands.parity import show
    from flows.commands.run import parse_components, run_in_terminal
    from flows.options import RunSettings, check_settings

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
