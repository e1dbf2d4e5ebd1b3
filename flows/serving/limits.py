"""What a client may send: how much, how slowly, how often, from which pages. Plain ASGI, before anything is parsed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flows.serving.refusals import refusal

_DRAINED = 4
"""A body up to so many times the limit is read and thrown away, so that a client hears why; a longer one is cut off."""

_FORM_BYTES = 64 * 1024

_CLIENTS = 10_000


@dataclass(frozen=True, slots=True)
class Limits:
    """`max_photo`: bytes; `seconds`: for the whole body to arrive; `rate`: photos a minute of one client."""

    max_photo: int
    rate: int
    seconds: float

    @property
    def max_body(self) -> int:
        """Bytes of a request: the photo, and the form around it."""
        return self.max_photo + _FORM_BYTES


class LimitedUploads:
    """Passes on what is within the limits, and answers the rest itself: 403, 408, 413, 429."""

    def __init__(self, app: ASGIApp, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._limits = limits
        self._buckets = _Buckets(limits.rate, clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if headers.get("sec-fetch-site") == "cross-site":
            message = "this is for the page of this server and for programs, not for other pages"
            await refusal(403, "other_page", message)(scope, receive, send)
            return
        wait = self._buckets.take(scope["client"][0] if scope.get("client") else "")
        if wait:
            message = f"more than {self._limits.rate} photos a minute: try again in {wait} s"
            await refusal(429, "too_many", message, {"Retry-After": str(wait)})(scope, receive, send)
            return
        body = _Body(receive, self._limits)
        declared = headers.get("content-length", "0")
        if declared.isdigit() and int(declared) > self._limits.max_body:
            if int(declared) <= _DRAINED * self._limits.max_body:
                await body.drain()
            message = _too_large(self._limits)
            await refusal(413, "too_large", message, {"Connection": "close"})(scope, receive, send)
            return
        await self._app(scope, body.receive, send)


def _too_large(limits: Limits) -> str:
    return f"the photo is larger than {limits.max_photo / 1e6:g} MB"


class _Body:
    """A request's body; to read one that is too long or takes too long raises HTTPException 413 or 408."""

    def __init__(self, receive: Receive, limits: Limits) -> None:
        self._receive = receive
        self._limits = limits
        self._bytes = 0
        self._end = asyncio.get_running_loop().time() + limits.seconds
        self._complete = False

    async def receive(self) -> Message:
        """The next message of the body; behind it, whatever the server has to say."""
        if self._complete:
            return await self._receive()
        message = await self._next()
        self._bytes += len(message.get("body", b""))
        if self._bytes > self._limits.max_body:
            raise HTTPException(413, _too_large(self._limits), {"Connection": "close"})
        return message

    async def drain(self) -> None:
        """Read to the end, and keep nothing."""
        try:
            while not self._complete:
                await self._next()
        except HTTPException:
            return  # the answer goes out all the same

    async def _next(self) -> Message:
        try:
            async with asyncio.timeout_at(self._end):
                message = await self._receive()
        except TimeoutError:
            late = f"the photo did not arrive within {self._limits.seconds:.0f} s"
            raise HTTPException(408, late, {"Connection": "close"}) from None
        self._complete = not message.get("more_body", False)
        return message


class _Buckets:
    """A bucket of tokens per client: full at first, and filled again within a minute."""

    def __init__(self, rate: int, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._clock = clock
        self._clients: dict[str, tuple[float, float]] = {}

    def take(self, client: str) -> int:
        """Take a token: 0, or the seconds until there is one."""
        now = self._clock()
        tokens, then = self._clients.pop(client, (float(self._rate), now))
        tokens = min(self._rate, tokens + (now - then) * self._rate / 60)
        wait = 0 if tokens >= 1 else max(1, round((1 - tokens) * 60 / self._rate))
        self._clients[client] = (tokens if wait else tokens - 1, now)
        if len(self._clients) > _CLIENTS:
            # The one that was away for longest, whose bucket is the fullest.
            del self._clients[next(iter(self._clients))]
        return wait
