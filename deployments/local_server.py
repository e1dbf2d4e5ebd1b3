"""Prefect on this machine, in one terminal: `python -m deployments.local_server`.

Starts a server (SQLite in ./.prefect), a process worker and a server of reports, deploys everything of prefect.yaml,
says where the page is, and ends all at Ctrl-C. What was run stays in ./.prefect for the next time.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from deployments.deploy import POOL, PROJECT
from flows.views.page import REPORTS_URL

_START_SECONDS = 180
_STOP_SECONDS = 30
_SECONDS_BETWEEN_WORDS = 10
_LOG_LINES = 15


class StartError(Exception):
    """Something does not come up, or has ended by itself; the message says what to do."""


@dataclass(frozen=True)
class Child:
    """A process that belongs to this command, with the file of what it says."""

    name: str
    log: Path
    process: subprocess.Popen[bytes]

    def check(self) -> None:
        """Raise StartError, with how it ended and the end of its log, when it is not running."""
        code = self.process.poll()
        if code is None:
            return
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        lines = self.log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
        said = "\n".join(f"  {line}" for line in lines) or "  (nothing)"
        raise StartError(f"{self.name} ended by itself, {how}. The end of {self.log}:\n{said}")

    def stop(self) -> None:
        """End it in order, then what it may have left behind: a process that was killed leaves its own children."""
        self.process.terminate()
        try:
            self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)


def serve(
    port: Annotated[int, typer.Option(help="Port of the page and the API.", min=1, max=65535)] = 4200,
    reports_port: Annotated[
        int | None, typer.Option(help="Port that reports are served on; the one after --port.", min=1, max=65535)
    ] = None,
    home: Annotated[Path, typer.Option(help="Folder of the database and the logs.")] = Path(".prefect"),
) -> None:
    """Start, deploy, and wait for Ctrl-C."""
    home = home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    reports = reports_port or port + 1
    environment = environment_for(port, home, reports)
    children: list[Child] = []
    signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        _check_free(port, "--port (make prefect PORT=4300)")
        _check_free(reports, "--reports-port")
        new = "" if (home / "prefect.db").exists() else ", which makes its database first: up to a minute, this once"
        typer.echo(f"starting Prefect's server{new}")
        log = home / "server.log"
        arguments = ("server", "start", "--port", str(port))
        server = Child("Prefect's server", log, _start(log, environment, *_prefect(*arguments)))
        children.append(server)
        _wait_until_it_answers(port, server)
        log = home / "reports.log"
        command = (sys.executable, "-m", "deployments.report_server", "--port", str(reports))
        children.append(Child("the server of reports", log, _start(log, environment, *command)))
        typer.echo("deploying what prefect.yaml names")
        _deploy(environment)
        typer.echo("starting a worker")
        log = home / "worker.log"
        arguments = ("worker", "start", "--pool", POOL)
        children.append(Child("Prefect's worker", log, _start(log, environment, *_prefect(*arguments))))
        typer.echo(_how_to_go_on(port, home))
        while True:
            for child in children:
                child.check()
            time.sleep(0.5)
    except KeyboardInterrupt:
        typer.echo("\nstopping the worker and the server")
    except StartError:
        if children:
            typer.echo("stopping what still runs", err=True)
        raise
    finally:
        for child in reversed(children):
            child.stop()


def environment_for(port: int, home: Path, reports_port: int) -> dict[str, str]:
    """The environment of server, worker and commands."""
    return {
        **os.environ,
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        # Runs inherit it from the worker.
        REPORTS_URL: f"http://127.0.0.1:{reports_port}",
    }


def _how_to_go_on(port: int, home: Path) -> str:
    return f"""
Prefect's page:  http://127.0.0.1:{port}
Its logs:        {home}

Start a run on the page (Deployments, laptop, Run), or in another terminal:

  export PREFECT_API_URL=http://127.0.0.1:{port}/api
  uv run --no-sync prefect deployment run fruit-features/laptop \\
    --param source=FOLDER --param output=FOLDER --watch

Ctrl-C stops the worker and the server."""


def _prefect(*arguments: str) -> list[str]:
    return [str(Path(sys.executable).parent / "prefect"), *arguments]


def _start(log: Path, environment: dict[str, str], *command: str) -> subprocess.Popen[bytes]:
    with log.open("wb") as sink:
        # A group of its own: at Ctrl-C the worker is ended first, in order, and not by the terminal.
        return subprocess.Popen(
            command,
            cwd=PROJECT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            process_group=0,
        )


def _check_free(port: int, option: str) -> None:
    with socket.socket() as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind(("127.0.0.1", port))
        except OSError as error:
            raise StartError(f"port {port} is taken ({error.strerror}): choose another one with {option}") from error


def _wait_until_it_answers(port: int, server: Child) -> None:
    begun = time.monotonic()
    say = _every(_SECONDS_BETWEEN_WORDS)
    while (seconds := time.monotonic() - begun) < _START_SECONDS:
        server.check()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            say(f"  not yet up after {seconds:.0f} s")
            time.sleep(0.3)
    raise StartError(f"Prefect's server does not come up in {_START_SECONDS} s: see {server.log}")


def _every(seconds: float) -> Callable[[str], None]:
    """Prints what it is given, but only once in so many seconds."""
    last = time.monotonic()

    def say(text: str) -> None:
        nonlocal last
        if time.monotonic() - last >= seconds:
            last = time.monotonic()
            typer.echo(text)

    return say


def _deploy(environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "deployments.deploy"]
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise StartError(done.stderr.strip().removeprefix("error: "))
    typer.echo(done.stdout.rstrip())


def _as_interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Run; what does not come up is told without a traceback, with exit code 1."""
    try:
        typer.run(serve)
    except StartError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
