"""The command line `fruits`. Light to import: worker processes import it again when they are spawned."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from engines.core.errors import FruitsError, InputError
from flows.commands import (
    check,
    clean,
    demo,
    emr,
    export,
    ls,
    parity,
    parity_check,
    report,
    run,
    sample,
    serve,
    shard,
    show,
    similar,
    transform,
    verify,
)
from flows.home import give_home
from flows.views.console import console, tolerate_encodings

_INTERRUPTED = 130
"""Typer's exit code after Ctrl-C."""

app = typer.Typer(
    name="fruits",
    no_args_is_help=True,
    # With the default, brackets in a help text are styles, and not shown.
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (
    run,
    ls,
    show,
    check,
    verify,
    clean,
    report,
    shard,
    transform,
    similar,
    serve,
    export,
    sample,
    demo,
    emr,
    parity,
    parity_check,
):
    module.register(app)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"fruit-features {version('fruit-features')}")
        raise typer.Exit


@app.callback()
def _common(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Turn large image collections into compact features: MobileNetV2, standardize, PCA."""


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 the run failed, 2 what was asked for cannot be done."""
    tolerate_encodings()
    try:
        give_home()
        app()
    except FruitsError as error:
        from rich.text import Text

        terminal = console(stderr=True, soft_wrap=True)
        terminal.print(Text.assemble(("error: ", "bold red"), error.message))
        if error.hint:
            terminal.print(error.hint)
        sys.exit(2 if isinstance(error, InputError) else 1)
    except SystemExit as end:
        if end.code == _INTERRUPTED:
            typer.echo("\nstopped; what was done is kept, the same command goes on from there", err=True)
        raise


if __name__ == "__main__":
    main()
