"""`fruits run`: the chain, in this process; as a flow run where a Prefect server is configured."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from dataclasses import asdict, replace
from types import FrameType
from typing import TYPE_CHECKING

from flows.options.emr import EmrTable
from flows.options.run import RunSettings, TerminalSettings
from flows.signatures import as_command

if TYPE_CHECKING:
    import typer

    from flows.chain import Outcome


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="run")(run)


@as_command(RunSettings, EmrTable, TerminalSettings)
def run(settings: RunSettings, table: EmrTable, terminal: TerminalSettings) -> None:
    """Featurize the images of SOURCE and reduce them with PCA, into OUTPUT.

    A second run does only what is missing. The results are published last: until then readers see the former ones.
    """
    from flows.assignments import settings_of_options
    from flows.runtime.server import configured_server

    emr = settings_of_options(settings.engine, table, max_cost=terminal.max_cost)
    settings = replace(settings, emr=emr)
    under_prefect = terminal.prefect if terminal.prefect is not None else configured_server() is not None
    run_in_terminal(settings, config=table.config, under_prefect=under_prefect, verbose=terminal.verbose)


def run_in_terminal(
    settings: RunSettings, *, config: str | None = None, under_prefect: bool = False, verbose: bool = False
) -> None:
    """Check the settings, run the chain with a progress bar, then print the summary."""
    from flows.checks import check_settings, complete
    from flows.credentials import use_credentials

    settings = complete(settings, config=config)
    use_credentials(settings)
    # Before anything heavy is imported: most mistakes show here, at once.
    settings = check_settings(settings)
    from rich.text import Text

    from flows.outcome import NOTHING_TO_DO
    from flows.views.console import console
    from flows.views.summary import summary

    # Python's default ends the process without its exit handlers, and workers would stay behind.
    signal.signal(signal.SIGTERM, _exit)
    # Engines ask this logger whether to show what the cluster they start writes.
    logging.getLogger("engines").setLevel(logging.INFO if verbose else logging.WARNING)
    done = _flow_run(settings, verbose=verbose) if under_prefect else _plain_run(settings, verbose=verbose)
    terminal = console()
    if done.unchanged:
        terminal.print(Text(f"{NOTHING_TO_DO}."))
    terminal.print(summary(settings.output, done.record, unchanged=done.unchanged))


def _plain_run(settings: RunSettings, *, verbose: bool) -> Outcome:
    from flows.views import terminal

    with terminal.progress_bar("starting") as listener:
        from engines.core.arrow_alone import without_pandas
        from flows import chain
        from flows.engine_log import Terminal, told_to

        without_pandas()
        with told_to(Terminal(verbose=verbose)):
            return chain.run(settings, on_progress=listener)


def _flow_run(settings: RunSettings, *, verbose: bool) -> Outcome:
    from flows.views import terminal

    # Prefect's client neither reports to its makers, nor says in the terminal that it does.
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    with terminal.progress_bar("starting") as listener:
        from engines.core.layout import RECORD
        from engines.core.output import read_record
        from engines.core.storage import open_storage
        from flows.chain import Outcome
        from flows.engine_log import Terminal, told_to
        from flows.fruit_features import fruit_features
        from flows.outcome import NOTHING_TO_DO
        from flows.runtime.console import set_console
        from flows.views.progress import watching

        set_console(verbose=verbose)
        # Prefect's console log shows these lines too, when it is shown.
        lines = contextlib.nullcontext() if verbose else told_to(Terminal(verbose=False))
        with watching(listener), lines:
            state = fruit_features(**asdict(settings), return_state=True)
        if state.is_cancelled():
            raise KeyboardInterrupt  # on Prefect's page; as by Ctrl-C here
        state.result()  # raises what made the run fail
    unchanged = str(state.message).startswith(NOTHING_TO_DO)
    location = open_storage(settings.output).uri(RECORD)
    return Outcome(read_record(settings.output), location, str(state.message), unchanged)


def _exit(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)
