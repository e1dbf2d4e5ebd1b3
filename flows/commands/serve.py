"""`fruits serve`: a page and an API for an output."""

from __future__ import annotations

import functools
import json
import os
import socket
import sys
from dataclasses import asdict
from importlib.util import find_spec
from typing import TYPE_CHECKING

from flows.options.use import ServeSettings
from flows.signatures import as_command

if TYPE_CHECKING:
    import typer

_MEGABYTE = 1_000_000
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="serve")(serve)


@as_command(ServeSettings)
def serve(settings: ServeSettings) -> None:
    """Serve OUTPUT as a page: show it a photo, or take one with the camera, and it says what the photo is like.

    The vote of the nearest published photos, these photos, and where the new one lies among them; on a phone as well.
    The same as JSON: POST /api/similar and /api/transform with a form's file `photo`, described in /openapi.json.

    What is published while it runs is served within seconds; answers name their version, and so does /healthz. What is
    published and cannot be read is said on standard error, and what was served before is kept.

    Browsers open a camera on this machine, and over https; from another device, the page takes photos with the
    device's own camera app. Photos that are sent are kept nowhere.
    """
    from flows.checks import check_counts

    check_counts(settings)
    _check_installed()
    import uvicorn

    from flows.serving.app import SETTINGS, ServeOptions, create_app

    local = settings.host in _LOOPBACK
    options = ServeOptions(
        output=settings.output,
        arithmetic=settings.arithmetic,
        max_upload=settings.max_upload * _MEGABYTE,
        rate=settings.rate,
        # Pages of others may have their own names point to this machine.
        hosts=("127.0.0.1", "localhost", "[::1]", "[") if local else ("*",),
        threads=settings.threads or os.cpu_count() or 1,
    )
    # In this process too where others serve: what cannot be served shows here, at once.
    current = options.open()
    port = _free_port(settings.host, settings.port)
    shown = f"[{settings.host}]" if ":" in settings.host else settings.host
    sys.stderr.write(f"{len(current.published):,} photos at http://{shown}:{port}  (Ctrl-C stops)\n")
    # proxy_headers: a client says by them who it is, and would have a new rate limit with each name.
    listen = functools.partial(uvicorn.run, host=settings.host, port=port, log_level="warning", proxy_headers=False)
    if settings.workers == 1:
        listen(create_app(current, options))
        return
    os.environ[SETTINGS] = json.dumps(asdict(options))
    del current
    listen("flows.serving.app:app_from_environment", factory=True, workers=settings.workers)


def _check_installed() -> None:
    from engines.core.errors import InputError

    for package in ("fastapi", "python_multipart", "uvicorn"):
        if find_spec(package) is None:
            raise InputError(
                f"the page needs the package {package.replace('_', '-')}, which is not installed",
                "Install fruit-features[serve].",
            )


def _free_port(host: str, port: int) -> int:
    """The port, or one that is free for 0. Raises InputError when it cannot be listened at."""
    from engines.core.errors import InputError

    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return int(probe.getsockname()[1])
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{host}:{port} cannot be listened at: {reason}", "Choose another --port (0: any that is free) or --host."
        ) from error
