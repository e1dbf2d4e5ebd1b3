"""`fruits parity-check`: the same images on two engines, and the outputs compared."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from typing import TYPE_CHECKING

from flows.options.published import ParityCheckSettings
from flows.options.run import RunSettings
from flows.signatures import as_command

if TYPE_CHECKING:
    import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="parity-check")(parity_check)


@as_command(ParityCheckSettings)
def parity_check(settings: ParityCheckSettings) -> None:
    """Run a sample of SOURCE on Dask and on Spark, and compare what comes out.

    Exit code 0: identical, or equal within the tolerance for other kinds of CPU; 1: different.
    """
    from engines.core.compare.outputs import compare
    from engines.core.errors import InputError
    from engines.core.storage import normalize_location
    from flows.checks import check_counts
    from flows.commands.parity import show
    from flows.commands.run import run_in_terminal

    check_counts(settings)
    names = [name.strip() for name in settings.engines.split(",")]
    if len(set(names)) != 2:
        raise InputError(f"--engines cannot be {settings.engines!r}", "Give two different ones, such as dask,spark.")
    with contextlib.ExitStack() as stack:
        folder = settings.output or stack.enter_context(tempfile.TemporaryDirectory(prefix="parity-check-"))
        outputs = [os.path.join(folder, name) for name in names]
        for name, output in zip(names, outputs, strict=True):
            # Standard output is for the verdict when a program reads it.
            with contextlib.redirect_stdout(sys.stderr) if settings.as_json else contextlib.nullcontext():
                run_in_terminal(
                    RunSettings(
                        source=settings.source,
                        output=output,
                        engine=name,
                        network=settings.network,
                        components=settings.components,
                        weights=settings.weights,
                        glob=settings.glob,
                        exclude=settings.exclude,
                        hidden=settings.hidden,
                        images=settings.images,
                        shard_size=settings.shard_size,
                        workers=settings.workers,
                    ),
                    verbose=settings.verbose,
                )
        show(compare(*map(normalize_location, outputs)), as_json=settings.as_json)
