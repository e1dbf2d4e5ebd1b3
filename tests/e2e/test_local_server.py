"""`make prefect`: server, worker and deployments from one command, and nothing left when it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.prefect_kit import PROJECT, PrefectKit, processes_of, wait_for
from tests.e2e.test_interruptions import featurizing, start

pytestmark = pytest.mark.timeout(400)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def test_it_says_where_the_page_is_runs_what_is_deployed_and_leaves_nothing(
    photos_for_a_minute: Path, weights: str, tmp_path: Path
) -> None:
    kit = PrefectKit(tmp_path / "home", free_port())
    output = tmp_path / "output"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    with subprocess.Popen(
        [sys.executable, "-m", "deployments.local_server", "--port", str(kit.port), "--home", str(kit.home)],
        cwd=PROJECT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as served:  # fmt: skip
        assert served.stdout is not None
        said = ""
        while "Ctrl-C stops" not in said:
            line = served.stdout.readline()
            assert line, said
            said += line
        assert f"Prefect's page:  {kit.page}" in said
        for name in ("fruit-features/laptop", "fruit-features/production", "parity-check/nightly"):
            assert f"deployed {name}" in said
        run = featurizing(kit, start(kit, photos_for_a_minute, weights, output), output)
        served.send_signal(signal.SIGINT)
        rest, _ = served.communicate(timeout=120)
    assert (served.returncode, "Traceback" in rest) == (0, False), rest
    wait_for(lambda: not processes_of(run), 30, f"processes are left: {processes_of(run)}")
    with socket.socket() as port:
        assert port.connect_ex(("127.0.0.1", kit.port)) != 0


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
