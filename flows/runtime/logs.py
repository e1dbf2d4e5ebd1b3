"""What of an engine's own log belongs into the log of a run."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from prefect.logging import get_run_logger

from engines.base import Engine


@contextlib.contextmanager
def running(engine: Engine) -> Iterator[None]:
    """Run the engine within this context; while it is open, warnings of its libraries go into the log of this run.

    The rest of what they log goes nowhere. Neither does what they say while the engine closes: how workers end is of no
    consequence then.
    """
    handler = _Forward(get_run_logger())
    loggers = [logging.getLogger(name) for name in engine.loggers]
    former = [(logger, logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
        logger.propagate = False
        logger.addHandler(handler)
    try:
        with engine:
            try:
                yield
            finally:
                handler.setLevel(logging.CRITICAL + 1)
    finally:
        for logger, level, propagate in former:
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate


class _Forward(logging.Handler):
    """Hands records to a run's logger. (Libraries log in threads of their own, which know of no run.)"""

    def __init__(self, target: logging.Logger | logging.LoggerAdapter[logging.Logger]) -> None:
        super().__init__(logging.WARNING)
        self._target = target

    def emit(self, record: logging.LogRecord) -> None:
        # The first line: what follows is a traceback or a list of keys, of use to developers of the library.
        text = record.getMessage().partition("\n")[0]
        self._target.log(record.levelno, "%s: %s", record.name, text)
