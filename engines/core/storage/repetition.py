"""One place that tries again what may heal: a request to a service, whichever client makes it."""

from __future__ import annotations

import functools
import logging
import random
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from engines.core.errors import TransientError
from engines.core.storage import aws

T = TypeVar("T")
P = ParamSpec("P")

SILENT_SECONDS = 5.0
"""So long nothing is said of it; then once for a request."""

_LOGGER = logging.getLogger("fruits.storage")


def repeating(function: Callable[P, T]) -> Callable[P, T]:
    """The function, each call of it `repeated`."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        return repeated(lambda: function(*args, **kwargs))

    return wrapper


def repeated(call: Callable[[], T]) -> T:
    """What `call` returns, called again for up to RETRY_SECONDS while it raises TransientError.

    obstore tries again by itself what the service refuses for now, but neither a connection that is cut within a body
    nor a conditional write whose answer is lost.
    """
    began = time.monotonic()
    pause, said = 0.1, False
    while True:
        try:
            return call()
        except TransientError as error:
            wait = pause * random.uniform(0.7, 1.3)  # noqa: S311 - spreads load, guards nothing
            spent = time.monotonic() + wait - began
            if spent > aws.RETRY_SECONDS:
                raise
            if spent > SILENT_SECONDS and not said:
                _LOGGER.warning("%s; trying again for up to %.0f s", error.message, aws.RETRY_SECONDS)
                said = True
        time.sleep(wait)
        pause = min(aws.LONGEST_PAUSE, pause * 2)
