"""The program `fruits`: the command line, or what to install for it. Imports nothing that could be missing."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; where a package of it is missing, say what to install, with exit code 2."""
    try:
        from flows.cli import main as run
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in ("flows", "engines", ""):
            raise  # a fault of ours
        sys.stderr.write(
            f"error: the command fruits needs the package {missing}, which is not installed\n"
            "Install fruit-features[flows] for the command alone, fruit-features[all] for it and all engines.\n"
        )
        sys.exit(2)
    run()
