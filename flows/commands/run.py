"""`fruits run`: the flow, in this process."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Annotated

import typer

from flows.settings import RunSettings, check_settings


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="run")(run)


def run(
    source: Annotated[str, typer.Argument(help="Folder or URL (file://, s3://) of the images.", metavar="SOURCE")],
    output: Annotated[str, typer.Argument(help="Folder or URL for the results.", metavar="OUTPUT")],
    engine: Annotated[str, typer.Option(help="Where the stages run: dask or spark.")] = "dask",
    components: Annotated[
        str, typer.Option(help="Number of PCA components, or the share of variance to explain.", metavar="128|0.95")
    ] = "128",
    weights: Annotated[
        str, typer.Option(help="Weights of MobileNetV2 without head.", metavar="imagenet|random|FILE")
    ] = "imagenet",
    runtime: Annotated[
        str, typer.Option(help="What runs the network; tensorflow is the reference.", metavar="litert|tensorflow")
    ] = "litert",
    glob: Annotated[str, typer.Option(help="Which file names are images; upper and lower case differ.")] = "*.jpg",
    per_class: Annotated[int | None, typer.Option(help="At most so many images of each class.")] = None,
    shard_size: Annotated[int, typer.Option(help="Images per shard, on average: the unit of work and retry.")] = 512,
    workers: Annotated[int | None, typer.Option(help="Worker processes; all cores by default.")] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            "--scheduler",
            "--master",
            help="The cluster to use: a Dask scheduler's address; a Spark master (local[N], spark://HOST:PORT, yarn).",
        ),
    ] = None,
    max_rejects: Annotated[float, typer.Option(help="Share of images that may be rejected.")] = 0.01,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show the log of Prefect and of the engine.")
    ] = False,
) -> None:
    """Featurize the images of SOURCE and reduce them with PCA, into OUTPUT.

    A second run does only what is missing. The results are published last: until then readers see the former ones.
    """
    # Before Prefect is imported and a server started: most mistakes show here, at once.
    settings = check_settings(
        RunSettings(
            source=source,
            output=output,
            engine=engine,
            components=parse_components(components),
            weights=weights,
            runtime=runtime,
            glob=glob,
            per_class=per_class,
            shard_size=shard_size,
            workers=workers,
            scheduler=scheduler,
            max_rejects=max_rejects,
        )
    )
    run_in_terminal(settings, verbose=verbose)


def parse_components(text: str) -> float:
    """The number written in `text`. Raises InputError for anything else; its range is checked with the settings."""
    from engines.core.errors import InputError

    try:
        return float(text)
    except ValueError:
        raise InputError(f"components cannot be {text!r}", "Give a whole number, or a share such as 0.95.") from None


def run_in_terminal(settings: RunSettings, *, verbose: bool) -> None:
    """Run the flow with a progress bar, then print the summary."""
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
    from rich.console import Console

    from engines.core.run_record import read_record
    from flows import terminal
    from flows.fruit_features import fruit_features
    from flows.progress import watching
    from flows.summary import summary

    terminal.set_log(verbose)
    with terminal.progress_bar() as listener, watching(listener):
        fruit_features(**asdict(settings))
    Console(highlight=False).print(summary(settings.output, read_record(settings.output)))
