"""`make prefect`: server, worker and deployments from one command, and nothing left when it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.prefect_kit import PROJECT, PrefectKit, processes_of, wait_for
from tests.e2e.test_interruptions import featurizing, start
from tests.processes import command_of

pytestmark = pytest.mark.timeout(400)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def test_it_says_where_the_page_is_runs_what_is_deployed_and_leaves_nothing(
    photos_for_a_minute: Path, weights: str, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    with serving(tmp_path / "home") as (served, kit, said):
        assert f"Prefect's page:  {kit.page}" in said
        for name in ("fruit-features/laptop", "fruit-features/production", "recheck/nightly"):
            assert f"deployed {name}" in said
        run = featurizing(kit, start(kit, photos_for_a_minute, weights, output), output)
        served.send_signal(signal.SIGINT)
        rest, _ = served.communicate(timeout=120)
    assert (served.returncode, "Traceback" in rest) == (0, False), rest
    wait_for(lambda: not processes_of(run), 30, f"processes are left: {processes_of(run)}")
    with socket.socket() as port:
        assert port.connect_ex(("127.0.0.1", kit.port)) != 0


@contextlib.contextmanager
def serving(home: Path) -> Iterator[tuple[subprocess.Popen[str], PrefectKit, str]]:
    """`make prefect` on free ports, when it says that all is up; ended afterwards if it has not ended."""
    kit = PrefectKit(home, free_port())
    command = ["-m", "deployments.local_server", "--port", str(kit.port), "--home", str(home)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    with subprocess.Popen(
        [sys.executable, *command, "--reports-port", str(free_port())],
        cwd=PROJECT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as served:  # fmt: skip
        assert served.stdout is not None
        said = ""
        while "Ctrl-C stops" not in said:
            line = served.stdout.readline()
            assert line, said
            said += line
        try:
            yield served, kit, said
        finally:
            if served.poll() is None:
                served.send_signal(signal.SIGINT)


def children_of(parent: int) -> list[int]:
    """The living processes that this one has started."""
    return [int(child) for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


@pytest.mark.parametrize(
    ("name", "words"),
    [("Prefect's server", "prefect server start"), ("Prefect's worker", "prefect worker start")],
)
def test_it_says_which_part_was_killed_and_stops_the_others(tmp_path: Path, name: str, words: str) -> None:
    with serving(tmp_path / "home") as (served, kit, said):
        assert "makes its database first" in said
        # A child has its parent's command until it has its own.
        (killed,) = wait_for(
            lambda: [process for process in children_of(served.pid) if words in command_of(process)],
            30,
            f"there is no {words}",
        )
        os.kill(killed, signal.SIGKILL)
        rest, _ = served.communicate(timeout=120)
        assert served.returncode == 1
        assert f"error: {name} ended by itself, killed by SIGKILL. The end of {kit.home}" in rest
        assert "Traceback" not in rest
        for port in (kit.port, kit.port + 1):
            with socket.socket() as attempt:
                assert attempt.connect_ex(("127.0.0.1", port)) != 0


def test_a_report_opens_from_the_page(few_photos: Path, weights: str, tmp_path: Path) -> None:
    with serving(tmp_path / "home") as (_, kit, _said):
        output = tmp_path / "my output"
        run = kit.run(
            "fruit-features/laptop",
            source=str(few_photos), output=str(output), weights=weights, components=8, max_rejects=0.05,
        )  # fmt: skip
        assert kit.wait(run)["state_type"] == "COMPLETED", kit.log(run)
        link = kit.artifacts(run)["report"]["data"].partition("(")[2].rstrip(")")
        assert link.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(link, timeout=30) as answer:  # noqa: S310 - our own server
            assert answer.read() == (output / "report.html").read_bytes()


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "deployments.local_server", "--port", str(port), "--home", str(tmp_path)],
            cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert f"error: port {port} is taken" in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr
