"""Prefect on this machine, in one terminal: `python -m deployments.local_server`.

Starts a server (SQLite in ./.prefect) and a process worker, deploys everything of prefect.yaml, says where the page is,
and ends both at Ctrl-C. What was run stays in ./.prefect for the next time.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

POOL = "fruits"
PROJECT = Path(__file__).resolve().parents[1]

_START_SECONDS = 120
_STOP_SECONDS = 30


class StartError(Exception):
    """Something does not come up; the message says what to do."""


def serve(
    port: Annotated[int, typer.Option(help="Port of the page and the API.", min=1, max=65535)] = 4200,
    home: Annotated[Path, typer.Option(help="Folder of the database and the logs.")] = Path(".prefect"),
) -> None:
    """Start, deploy, and wait for Ctrl-C."""
    home = home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    environment = environment_for(port, home)
    children: list[subprocess.Popen[bytes]] = []
    signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        _check_free(port)
        typer.echo("starting Prefect's server")
        children.append(_start(home / "server.log", environment, "server", "start", "--port", str(port)))
        _wait_until_it_answers(port, children[0], home / "server.log")
        _deploy(environment)
        typer.echo("starting a worker")
        children.append(_start(home / "worker.log", environment, "worker", "start", "--pool", POOL))
        typer.echo(_how_to_go_on(port, home))
        while all(child.poll() is None for child in children):
            time.sleep(0.5)
        raise StartError(f"Prefect ended by itself: see server.log and worker.log in {home}")
    except KeyboardInterrupt:
        typer.echo("\nstopping the worker and the server")
    finally:
        _stop(children)


def environment_for(port: int, home: Path) -> dict[str, str]:
    """The environment of server, worker and commands."""
    return {
        **os.environ,
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_WORKER_QUERY_SECONDS": "2",
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


def _start(log: Path, environment: dict[str, str], *arguments: str) -> subprocess.Popen[bytes]:
    with log.open("ab") as sink:
        # A group of its own: at Ctrl-C the worker is ended first, in order, and not by the terminal.
        return subprocess.Popen(
            _prefect(*arguments),
            cwd=PROJECT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            process_group=0,
        )


def _check_free(port: int) -> None:
    with socket.socket() as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind(("127.0.0.1", port))
        except OSError as error:
            raise StartError(f"port {port} is taken ({error.strerror}): choose another one with --port") from error


def _wait_until_it_answers(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)  # not yet
    raise StartError(f"Prefect's server does not come up: see {log}")


def _deploy(environment: dict[str, str]) -> None:
    known = _run(environment, "work-pool", "inspect", POOL)
    if known.returncode != 0:
        _checked(_run(environment, "work-pool", "create", POOL, "--type", "process"))
    _checked(_run(environment, "--no-prompt", "deploy", "--all"))


def _run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _prefect(*arguments), cwd=PROJECT, env=environment, capture_output=True, text=True, check=False
    )


def _checked(done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode != 0:
        raise StartError(f"{' '.join(done.args)} failed:\n{done.stdout}{done.stderr}")
    for name in re.findall(r"Deployment '([^']+)' successfully created", done.stdout):
        typer.echo(f"deployed {name}")


def _stop(children: list[subprocess.Popen[bytes]]) -> None:
    for child in reversed(children):
        child.terminate()
        try:
            child.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


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
