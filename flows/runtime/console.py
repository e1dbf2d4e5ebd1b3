"""Prefect's log in a terminal."""

from __future__ import annotations

import logging


def set_console(*, verbose: bool) -> None:
    """For the rest of this process, keep Prefect's console log off the terminal unless `verbose`.

    Errors are shown once, by the command line. Prefect logs until the process exits, so this is not undone.
    """
    import prefect.logging.configuration
    from prefect.logging.handlers import PrefectConsoleHandler

    prefect.logging.configuration.setup_logging()
    for name in list(logging.root.manager.loggerDict):
        for handler in logging.getLogger(name).handlers:
            if isinstance(handler, PrefectConsoleHandler):
                handler.setLevel(logging.DEBUG if verbose else logging.CRITICAL + 1)
