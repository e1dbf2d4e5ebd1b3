"""A Prefect server and a process worker of their own, as a person would start them: processes, SQLite, free ports."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.processes import processes_with

PROJECT = Path(__file__).resolve().parents[2]
POOL = "fruits"
PREFECT = str(Path(sys.executable).parent / "prefect")


@dataclass
class PrefectKit:
    """The server, the worker, and what tests ask of them. `home` holds the database and the logs of both."""

    home: Path
    port: int = 0
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    hidden: tuple[str, ...] = ()
    """Beginnings of the names of variables that processes started from here do not get."""
    extra: dict[str, str] = field(default_factory=dict)
    """Variables that processes started from here get besides."""

    @property
    def page(self) -> str:
        """The address of Prefect's page."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """This process' environment, with Prefect's part of it replaced."""
        left_out = ("PREFECT_", *self.hidden)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
        return {
            **kept,
            "PREFECT_HOME": str(self.home),
            "PREFECT_API_URL": f"{self.page}/api",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "PREFECT_WORKER_QUERY_SECONDS": "2",
            "PREFECT_CLI_COLORS": "false",
            **self.extra,
        }

    def start_server(self) -> None:
        """Start it and wait until it answers; on the same port as before, if it was started before."""
        self.home.mkdir(parents=True, exist_ok=True)
        if not self.port:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self.port = free.getsockname()[1]
        self._start("server", "server", "start", "--host", "127.0.0.1", "--port", str(self.port))
        wait_for(self._answers, 90, f"Prefect's server does not answer; its log is {self.home}/server.log")

    def start_worker(self) -> None:
        """Start it and wait until the server knows it."""
        before = {worker["id"] for worker in self._workers()}
        self._start("worker", "worker", "start", "--pool", POOL, "--name", f"worker-{time.monotonic_ns()}")
        wait_for(
            lambda: {worker["id"] for worker in self._workers()} - before,
            90,
            f"Prefect's worker does not report; its log is {self.home}/worker.log",
        )

    def stop(self, name: str, sign: int = signal.SIGTERM) -> None:
        """End the server or the worker and wait until it is gone."""
        process = self.processes.pop(name)
        process.send_signal(sign)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def close(self) -> None:
        """End both, the worker first."""
        for name in ("worker", "server"):
            if name in self.processes:
                self.stop(name)

    def prefect(self, *arguments: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        """Run `prefect ARGUMENTS` in the project's folder."""
        return subprocess.run(
            [PREFECT, *arguments],
            cwd=PROJECT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def api(self, path: str, body: Any = None, method: str | None = None) -> Any:
        """GET, or POST with a body, of Prefect's REST API; again after 503 (SQLite busy), as Prefect's client does."""
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(  # noqa: S310 - our own server
            f"{self.page}/api{path}", data, {"Content-Type": "application/json"}, method=method
        )
        for attempt in range(1, 6):
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                    return json.loads(answer.read() or b"null")
            except urllib.error.HTTPError as error:
                if error.code != 503 or attempt == 5:
                    raise
                time.sleep(attempt)
        raise AssertionError("unreachable")

    def run(self, deployment: str, **parameters: Any) -> str:
        """Create a run of a deployment, as Prefect's page does; its id."""
        return self._created(deployment, {"parameters": parameters})

    def run_unchecked(self, deployment: str) -> str:
        """Create a run without parameters, as a schedule that has none does: nothing looks at its form; its id."""
        return self._created(deployment, {"enforce_parameter_schema": False})

    def _created(self, deployment: str, body: dict[str, Any]) -> str:
        found = self.api(f"/deployments/name/{deployment}")
        return str(self.api(f"/deployments/{found['id']}/create_flow_run", body)["id"])

    def flow_run(self, run: str) -> dict[str, Any]:
        """The run with its state."""
        found: dict[str, Any] = self.api(f"/flow_runs/{run}")
        return found

    def wait(self, run: str, seconds: float = 150) -> dict[str, Any]:
        """The run when it has ended."""

        def ended() -> dict[str, Any] | None:
            found = self.flow_run(run)
            return found if found["state_type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED") else None

        found: dict[str, Any] = wait_for(ended, seconds, f"run {run} does not end")
        return found

    def artifacts(self, run: str) -> dict[str, dict[str, Any]]:
        """The artifacts of a run by their key."""
        found = self.api("/artifacts/filter", {"flow_runs": {"id": {"any_": [run]}}})
        return {artifact["key"]: artifact for artifact in found if artifact["key"]}

    def task_names(self, run: str) -> list[str]:
        """The names of a run's task runs, in order. (They reach the server as events, so a moment later.)"""
        found = self.api("/task_runs/filter", {"flow_runs": {"id": {"any_": [run]}}, "sort": "EXPECTED_START_TIME_ASC"})
        return [task["name"] for task in found]

    def log(self, run: str) -> str:
        """The log of a run as Prefect's page shows it."""
        found = self.api("/logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}, "sort": "TIMESTAMP_ASC"})
        return "\n".join(line["message"] for line in found)

    def _start(self, name: str, *arguments: str) -> None:
        with (self.home / f"{name}.log").open("ab") as log:
            # A session of its own, so that no signal to the tests' group reaches it before `close` does.
            self.processes[name] = subprocess.Popen(
                [PREFECT, *arguments],
                cwd=self.home,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _answers(self) -> bool:
        try:
            return bool(self.api("/health"))
        except OSError:
            return False

    def _workers(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.api(f"/work_pools/{POOL}/workers/filter", {})
        return found


def wait_for(condition: Callable[[], Any], seconds: float, otherwise: str) -> Any:
    """The first true value of `condition`, asked ten times a second. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.1)
    raise TimeoutError(f"after {seconds:g} s: {otherwise}")


def flow_process(run: str) -> int:
    """The process that runs a flow run: the one that has its id in the environment and leads a session."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            environment = (folder / "environ").read_bytes()
            session = os.getsid(int(folder.name))
        except (OSError, ProcessLookupError):
            continue  # gone, or not ours
        if f"PREFECT__FLOW_RUN_ID={run}".encode() in environment and session == int(folder.name):
            return int(folder.name)
    raise LookupError(f"no process runs {run}")


def processes_of(run: str) -> list[int]:
    """All living processes that were started for a flow run: they have its id in their environment."""
    return processes_with("PREFECT__FLOW_RUN_ID", run)
