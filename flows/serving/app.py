"""The page and the API of one output."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path as FilePath
from typing import Annotated, Any, TypeVar

from fastapi import FastAPI, File, HTTPException, Path, Query, Response, UploadFile
from fastapi.responses import FileResponse
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flows.serving.answers import Collection, Features, Health, PhotoMap, Refusal, SimilarPhotos
from flows.serving.collection import PLACEHOLDER, Published
from flows.serving.current import Current
from flows.serving.limits import LimitedUploads, Limits
from flows.serving.refusals import answer_errors

SETTINGS = "FRUITS_SERVE"
"""The variable that tells worker processes what to serve."""

_WAITING = 64
"""Photos that wait for a core; more are sent away."""

_STATIC = FilePath(__file__).with_name("static")

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Permissions-Policy": "camera=(self)",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What to serve, and to whom. `max_upload`, `rate`, `seconds`: see `limits.Limits`.

    `look_seconds`: how often it is looked for a newer publication.
    """

    output: str
    arithmetic: str = "exact"
    max_upload: int = 20_000_000
    rate: int = 120
    seconds: float = 60.0
    hosts: tuple[str, ...] = ("*",)
    threads: int = 1
    look_seconds: float = 5.0

    def open(self) -> Current:
        """What is published. Raises InputError as `engines.published.load_model` does."""
        return Current(self.output, lambda: Published.open(self.output, self.arithmetic, self.max_upload))


def app_from_environment() -> FastAPI:
    """The app of a worker process, which finds its options in the variable SETTINGS."""
    plain = json.loads(os.environ[SETTINGS])
    options = ServeOptions(**{**plain, "hosts": tuple(plain["hosts"])})
    return create_app(options.open(), options)


def create_app(current: Current, options: ServeOptions) -> FastAPI:
    """The app that serves what is `current`, and looks for newer publications."""
    pool = _Pool(options.threads)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        watch = asyncio.create_task(current.watch(options.look_seconds))
        yield
        watch.cancel()
        pool.close()

    app = FastAPI(
        title="fruit features",
        summary="Send a photo, and hear what it is like.",
        version=version("fruit-features"),
        lifespan=lifespan,
        docs_url=None,  # both load scripts of others
        redoc_url=None,
    )
    answer_errors(app)
    app.add_middleware(LimitedUploads, limits=Limits(options.max_upload, options.rate, options.seconds))
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(options.hosts))
    app.add_middleware(_WithHeaders)
    _add_routes(app, current, options, pool)
    app.mount("/static", StaticFiles(directory=_STATIC))
    return app


def _add_routes(app: FastAPI, current: Current, options: ServeOptions, pool: _Pool) -> None:
    async def content_of(photo: UploadFile) -> bytes:
        kind = (photo.content_type or "").partition(";")[0].strip().lower()
        if not (kind.startswith("image/") or kind in ("", "application/octet-stream")):
            raise HTTPException(415, f"a photo is wanted, and this is {kind}")
        if (photo.size or 0) > options.max_upload:
            raise HTTPException(413, f"the photo is larger than {options.max_upload / 1e6:g} MB")
        return await photo.read()

    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(_STATIC / "index.html")

    @app.get("/healthz", tags=["server"])
    def healthz() -> Health:
        """Whether the server answers, and with what."""
        published = current.published
        return Health(photos=len(published), version=published.version, outdated=current.outdated)

    @app.get("/api/collection", tags=["collection"])
    def collection() -> Collection:
        """What is served."""
        return current.published.describe()

    @app.get("/api/map", tags=["collection"])
    def the_map() -> PhotoMap:
        """Where the published photos lie."""
        return current.published.points()

    @app.get(
        "/api/photos/{row}",
        tags=["collection"],
        response_class=Response,
        responses={200: {"content": {"image/jpeg": {}, "image/svg+xml": {}}}, **_refusals(404, 422)},
    )
    def photo(row: Annotated[int, Path(ge=0)], version: _Version = None) -> Response:
        """A small picture of a published photo; a placeholder where it cannot be read any more."""
        published = current.published if version is None else current.of_version(version)
        if published is None:
            raise HTTPException(404, "other photos were published since")
        if row >= len(published):
            raise HTTPException(404, f"there is no row {row}")
        content, kind = published.picture(row)
        lasting = version is not None and (content, kind) != PLACEHOLDER
        kept = "max-age=3600" if lasting else "no-store"
        return Response(content, media_type=kind, headers={"Cache-Control": kept})

    @app.post("/api/similar", tags=["photos"], responses=_UPLOADS)
    async def similar(photo: _Photo, k: Annotated[int, Query(ge=1, le=100)] = 5) -> SimilarPhotos:
        """The published photos nearest to this one, the vote of their labels, and where it lies on the map."""
        content = await content_of(photo)
        return await pool.run(lambda: current.published.similar(content, k))

    @app.post("/api/transform", tags=["photos"], responses=_UPLOADS)
    async def transform(photo: _Photo) -> Features:
        """The numbers of this photo."""
        content = await content_of(photo)
        return await pool.run(lambda: current.published.features(content))


_Photo = Annotated[UploadFile, File(description="JPEG, PNG, WebP, GIF, BMP, TIFF or PPM.")]
_Version = Annotated[str | None, Query(description="That of the answer which names the row; by default the newest.")]


def _refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": Refusal} for status in statuses}


_UPLOADS = _refusals(400, 403, 408, 413, 415, 422, 429, 503)


class _Pool:
    """Threads that compute, a core each; LiteRT and Pillow leave the event loop alone meanwhile."""

    def __init__(self, threads: int) -> None:
        self._number = threads
        self._threads: ThreadPoolExecutor | None = None
        self._waiting = 0

    async def run(self, function: Callable[[], T]) -> T:
        """What `function` returns. Raises HTTPException 503 where too many wait already."""
        if self._waiting >= _WAITING:
            raise HTTPException(503, "too many photos at once: try again in a moment", {"Retry-After": "2"})
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._number, thread_name_prefix="photo")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, function)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Wait for what is under way. What comes later has new threads."""
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)
            self._threads = None


class _WithHeaders:
    """Adds _HEADERS to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()]
                message["headers"] = [*message.get("headers", []), *added]
            await send(message)

        await self._app(scope, receive, with_headers)
