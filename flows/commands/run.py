"""`fruits run`: the flow, in this process."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from dataclasses import asdict
from types import FrameType
from typing import Annotated, Any

import typer

from engines import EMR_ENGINES, ENGINES
from flows.commands import options
from flows.commands.emr import parse_settings
from flows.options import RunSettings, check_settings


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="run")(run)


def run(
    source: options.Source,
    output: options.Output,
    engine: Annotated[str, typer.Option(help=f"Where the stages run: {', '.join(ENGINES)}.")] = "dask",
    components: options.Components = "128",
    weights: options.Weights = "imagenet",
    runtime: Annotated[
        str, typer.Option(help="What runs the network; tensorflow is the reference.", metavar="litert|tensorflow")
    ] = "litert",
    glob: options.Glob = "*.jpg",
    per_class: Annotated[int | None, typer.Option(help="At most so many images of each class.")] = None,
    images: Annotated[int | None, typer.Option(help="At most so many images in all.")] = None,
    shard_size: options.ShardSize = 512,
    workers: options.Workers = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            "--scheduler",
            "--master",
            help="The cluster to use: a Dask scheduler's address; a Spark master (local[N], spark://HOST:PORT, yarn).",
        ),
    ] = None,
    max_rejects: Annotated[float, typer.Option(help="Share of images that may be rejected.")] = 0.01,
    max_cost: Annotated[
        float | None, typer.Option(help="On EMR: stop before the estimate exceeds so many US dollars.")
    ] = None,
    emr: options.Setting = None,
    config: options.Config = None,
    verbose: options.Verbose = False,
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
            images=images,
            shard_size=shard_size,
            workers=workers,
            scheduler=scheduler,
            max_rejects=max_rejects,
            emr=_emr_settings(engine, config, emr, max_cost),
        )
    )
    run_in_terminal(settings, verbose=verbose)


def _emr_settings(
    engine: str, config: str | None, assignments: list[str] | None, max_cost: float | None
) -> dict[str, Any] | None:
    """All EMR settings as plain data; None for an engine that takes none. Raises InputError when it is given some."""
    from engines.core.errors import InputError
    from engines.emr.settings import load_settings

    overrides = parse_settings(assignments) | ({} if max_cost is None else {"max_cost": max_cost})
    if engine in EMR_ENGINES:
        return asdict(load_settings(overrides, config=config))
    if overrides:
        raise InputError(
            f"the engine {engine} takes no EMR settings",
            "Leave out --emr and --max-cost, or use --engine emr-serverless.",
        )
    return None


def parse_components(text: str) -> float:
    """The number written in `text`. Raises InputError for anything else; its range is checked with the settings."""
    from engines.core.errors import InputError

    try:
        return float(text)
    except ValueError:
        raise InputError(f"components cannot be {text!r}", "Give a whole number, or a share such as 0.95.") from None


def run_in_terminal(settings: RunSettings, *, verbose: bool) -> None:
    """Run the flow with a progress bar, then print the summary."""
    # Neither Prefect's server nor its client reports to its makers, or says in the terminal that it does.
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    from rich.console import Console
    from rich.text import Text

    from engines.core.output import read_record
    from engines.registry import import_engine
    from flows import temporary_server
    from flows.views import terminal
    from flows.views.summary import summary

    # Python's default ends the process without its exit handlers, and workers would stay behind.
    signal.signal(signal.SIGTERM, _exit)
    # Prefect's server takes about seven seconds of CPU to start: all is imported beside it that will be needed.
    server = temporary_server.begin(verbose=verbose)
    with terminal.progress_bar("starting") as listener:
        from flows.credentials import Terminal, job_log
        from flows.fruit_features import fruit_features
        from flows.outcome import NOTHING_TO_DO
        from flows.runtime.progress import watching

        terminal.set_log(verbose)
        # Prefect's console log shows these lines too, when it is shown.
        lines = contextlib.nullcontext() if verbose else job_log(settings.engine, Terminal())
        import_engine(settings.engine)
        if server is not None:
            server.use()
        temporary_server.check_server()
        with watching(listener), lines:
            state = fruit_features(**asdict(settings), return_state=True)
        if state.is_cancelled():
            raise KeyboardInterrupt  # on Prefect's page; as by Ctrl-C here
        state.result()  # raises what made the run fail
    console = Console(highlight=False)
    if state.message and state.message.startswith(NOTHING_TO_DO):
        console.print(Text(f"{NOTHING_TO_DO}."))
    console.print(summary(settings.output, read_record(settings.output)))


def _exit(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)
