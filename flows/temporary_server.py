"""Prefect's server for runs in a terminal, in a process of its own, when no other server is configured.

Prefect would start one too, but only after this process has imported the whole server as well, and one that stays
behind when this process is killed. This one starts beside what is imported here, and ends when the pipe to its standard
input closes: with this process, however that ends.

`python -m flows.temporary_server` prints the address of the API to use, and serves until its standard input ends.
"""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import sys
import tempfile
import threading
from typing import IO

from engines.core.errors import InputError, StageError

_STOP_SECONDS = 10
_LOG_LINES = 12
_FORBIDDEN = "forbidden"


def begin(*, verbose: bool) -> TemporaryServer | None:
    """Begin to start a server for this process; None when the environment names one, as it does once `use` returned."""
    return None if os.environ.get("PREFECT_API_URL") else TemporaryServer(verbose=verbose)


def check_server() -> None:
    """Raise InputError when the server that is configured does not answer; Prefect would show a long traceback."""
    from prefect import get_client
    from prefect.settings import PREFECT_API_URL

    if not PREFECT_API_URL.value():
        return
    with get_client(sync_client=True) as client:
        error = client.api_healthcheck()
    if error is not None:
        raise InputError(
            f"the Prefect server at {PREFECT_API_URL.value()} does not answer: {error}",
            "Start it, correct PREFECT_API_URL, or unset it to do without.",
        ) from error


class TemporaryServer:
    """A process that serves Prefect's API, or that has found out which other server is configured."""

    def __init__(self, *, verbose: bool) -> None:
        self._log: IO[bytes] | None = None if verbose else tempfile.TemporaryFile()  # noqa: SIM115 - kept open
        self._process = subprocess.Popen(
            # -P: not the modules of whatever folder this is called in.
            [sys.executable, "-P", "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            process_group=0,  # Ctrl-C is for the run, which then tells the server how it ended
        )
        # What is registered first is called last: after Prefect has sent the rest of its log.
        atexit.register(self._stop)

    def use(self) -> None:
        """Wait until it answers; from here on, this process uses it, or the server that is configured.

        Raises StageError when it does not start, InputError when Prefect is told to start none.
        """
        assert self._process.stdout is not None  # noqa: S101 - a pipe
        address = self._process.stdout.readline().decode().strip()
        if address == _FORBIDDEN:
            raise InputError(
                "no Prefect server is configured, and PREFECT_SERVER_EPHEMERAL_ENABLED forbids a temporary one",
                "Set PREFECT_API_URL to a server.",
            )
        if not address:
            raise StageError("Prefect's temporary server does not start", self._log_tail())
        from prefect.context import refresh_global_settings_context

        # Not `temporary_settings`: Prefect's threads, which send events and logs, would not know of it.
        os.environ["PREFECT_API_URL"] = address
        refresh_global_settings_context()

    def _log_tail(self) -> str:
        if self._log is None:
            return ""
        self._log.seek(0)
        return "\n".join(self._log.read().decode(errors="replace").splitlines()[-_LOG_LINES:])

    def _stop(self) -> None:
        assert self._process.stdin is not None  # noqa: S101 - a pipe
        self._process.stdin.close()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def main() -> None:
    """Print the address of the API to use; serve it, if no other server is configured, until standard input ends."""
    answer = os.dup(1)
    os.dup2(2, 1)  # whatever else is printed is for the log
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    if settings.api.url or not settings.server.ephemeral.enabled:
        os.write(answer, f"{settings.api.url or _FORBIDDEN}\n".encode())
        return
    import uvicorn
    from prefect.server.api.server import create_app

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                os.write(answer, f"http://127.0.0.1:{listening.getsockname()[1]}/api\n".encode())

    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    application = create_app(ephemeral=True, final=True)
    server = Server(uvicorn.Config(application, log_level="error", lifespan="on", timeout_graceful_shutdown=5))

    def end_with_standard_input() -> None:
        sys.stdin.buffer.read()
        server.should_exit = True

    threading.Thread(target=end_with_standard_input, daemon=True).start()
    server.run([listening])


if __name__ == "__main__":
    main()
