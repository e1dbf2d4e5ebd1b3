"""The reports of this machine's outputs over http, for links on Prefect's page: browsers open no file:// from there.

`http://127.0.0.1:PORT/FOLDER/report.html` is the report of the output FOLDER. On loopback, read only, and of each
output nothing but the report and its run.json. `python -m deployments.report_server --port N` serves until it is ended.
"""

from __future__ import annotations

import os
from typing import Annotated

import typer
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import Route

from engines.core.layout import RECORD

SERVED = ("report.html", RECORD)

_HEADERS = {
    # A report is one file, with its style, pictures and scripts in it; which scripts may run it says by their digests.
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def application() -> Starlette:
    """The web application. Hosts other than this machine's own names are refused, against names that resolve to it."""
    return Starlette(
        routes=[Route("/{path:path}", _file, methods=["GET"])],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])],
    )


def file_of_output(path: str) -> str | None:
    """The file to serve for an absolute path; None unless it is one of SERVED, directly in a published output."""
    folder, name = os.path.split(path)
    if name not in SERVED or "\0" in path or os.path.normpath(path) != path:
        return None
    real = os.path.realpath(path)
    # A link inside the output could lead to any other file.
    if real != os.path.join(os.path.realpath(folder), name) or not os.path.isfile(real):
        return None
    # Written last when an output is published.
    return real if os.path.isfile(os.path.join(folder, RECORD)) else None


def _file(request: Request) -> FileResponse:
    found = file_of_output(f"/{request.path_params['path']}")
    if found is None:
        raise HTTPException(404, "no report of a published output is there")
    return FileResponse(found, headers=_HEADERS)


def serve(port: Annotated[int, typer.Option(help="Port on 127.0.0.1.", min=1, max=65535)]) -> None:
    """Serve until ended."""
    uvicorn.run(application(), host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    typer.run(serve)
