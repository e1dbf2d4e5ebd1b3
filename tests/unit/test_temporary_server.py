"""Prefect's server for a run in a terminal: there when it is needed, and gone with the run, however that ends."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from tests.e2e.prefect_kit import wait_for

RUN = """
import os, sys
from flows import temporary_server
server = temporary_server.begin(verbose=False)
server.use()
print(os.environ["PREFECT_API_URL"], server._process.pid, flush=True)
sys.stdin.read()
"""


def start(home: Path, **settings: str) -> subprocess.Popen[str]:
    """A process that uses a temporary server until its standard input ends; it prints the address and the pid."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment = {**kept, "PREFECT_HOME": str(home), "DO_NOT_TRACK": "1", **settings}
    return subprocess.Popen(
        [sys.executable, "-c", RUN],
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def answers(api: str) -> bool:
    try:
        with urllib.request.urlopen(f"{api}/health", timeout=10) as answer:  # noqa: S310 - our own server
            return bool(answer.status == 200)
    except urllib.error.URLError:
        return False


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_it_answers_and_ends_with_a_run_that_is_killed(tmp_path: Path) -> None:
    with start(tmp_path) as run:
        assert run.stdout is not None
        api, pid = run.stdout.readline().split()
        assert answers(api)
        run.kill()
    # Reaped by whoever adopts orphans here, so its port is asked too.
    wait_for(lambda: not answers(api), 30, f"the server {pid} is still there")


def test_it_is_gone_when_a_run_ends(tmp_path: Path) -> None:
    with start(tmp_path) as run:
        assert run.stdout is not None
        _, pid = run.stdout.readline().split()
        run.communicate()
    assert run.returncode == 0
    assert not is_there(int(pid))


def test_a_server_that_a_profile_names_is_used_instead(tmp_path: Path) -> None:
    (tmp_path / "profiles.toml").write_text(
        'active = "there"\n[profiles.there]\nPREFECT_API_URL = "http://127.0.0.1:9/api"\n'
    )
    with start(tmp_path) as run:
        said, _ = run.communicate()
    assert said.split()[0] == "http://127.0.0.1:9/api"


def test_where_none_may_be_started_that_is_said(tmp_path: Path) -> None:
    with start(tmp_path, PREFECT_SERVER_EPHEMERAL_ENABLED="false") as run:
        _, errors = run.communicate()
    assert run.returncode != 0
    assert "Set PREFECT_API_URL to a server." in errors
