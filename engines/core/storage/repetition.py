"""One place that tries again what may heal: a request to a service, whichever client makes it."""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from engines.core.errors import TransientError
from engines.core.storage import aws

T = TypeVar("T")
P = ParamSpec("P")


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
    deadline = time.monotonic() + aws.RETRY_SECONDS
    pause = 0.1
    while True:
        try:
            return call()
        except TransientError:
            wait = pause * random.uniform(0.7, 1.3)  # noqa: S311 - spreads load, guards nothing
            if time.monotonic() + wait > deadline:
                raise
        time.sleep(wait)
        pause = min(aws.LONGEST_PAUSE, pause * 2)
