"""What a run, and the engine beneath it, say while it goes on: the logger `fruits`, and who listens to it."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator

from engines.base import Engine
from engines.core.text import printable

LOGGER = logging.getLogger("fruits.run")
"""Lines of the run itself. Below `fruits` are also those of the EMR engines, `fruits.emr`."""

_ALL = logging.getLogger("fruits")


@contextlib.contextmanager
def running(engine: Engine) -> Iterator[None]:
    """Run the engine within this context; while it is open, warnings of its libraries are warnings of the run.

    The rest of what they log goes nowhere. Neither does what they say while the engine closes: how workers end is of no
    consequence then.
    """
    handler = _Forward()
    loggers = [logging.getLogger(name) for name in engine.loggers]
    former = [(logger, logger.level, logger.propagate, logger.handlers[:]) for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
        logger.propagate = False
        logger.handlers[:] = [handler]
    try:
        with engine:
            try:
                yield
            finally:
                handler.setLevel(logging.CRITICAL + 1)
    finally:
        for logger, level, propagate, handlers in former:
            logger.handlers[:] = handlers
            logger.setLevel(level)
            logger.propagate = propagate


@contextlib.contextmanager
def told_to(target: logging.Handler, level: int = logging.INFO) -> Iterator[None]:
    """Within this context what a run says goes to `target`."""
    former = _ALL.level, _ALL.propagate
    target.setLevel(level)
    _ALL.setLevel(min(level, logging.INFO))
    _ALL.propagate = False
    _ALL.addHandler(target)
    try:
        yield
    finally:
        _ALL.removeHandler(target)
        _ALL.setLevel(former[0])
        _ALL.propagate = former[1]


class Terminal(logging.Handler):
    """Lines on standard error, above the progress bars that are there now.

    Of a run itself only warnings: the bars and the summary say the rest. Of jobs elsewhere (`fruits.emr`) all lines.
    """

    def __init__(self, *, verbose: bool) -> None:
        super().__init__()
        self._verbose = verbose

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        if self._verbose or record.levelno >= logging.WARNING or record.name != LOGGER.name:
            print(printable(record.getMessage()), file=sys.stderr)  # noqa: T201 - rich redirects it while bars are shown


class RunLog(logging.Handler):
    """Hands records to the logger of a flow run, level and all."""

    def __init__(self, target: logging.Logger | logging.LoggerAdapter[logging.Logger]) -> None:
        super().__init__()
        self._target = target

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        self._target.log(record.levelno, "%s", printable(record.getMessage()))


class _Forward(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        # The first line: what follows is a traceback or a list of keys, of use to developers of the library.
        text = record.getMessage().strip().partition("\n")[0]
        if not text and record.exc_info and record.exc_info[1] is not None:
            text = f"{type(record.exc_info[1]).__name__}: {record.exc_info[1]}"
        LOGGER.log(record.levelno, "%s: %s", record.name, text)
