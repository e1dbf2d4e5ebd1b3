"""Deploy all of prefect.yaml, keeping what a person switched: `python -m deployments.deploy`.

`prefect deploy --all`, before it the work pool, and after it what that would undo: a deployment that was paused stays
paused. (Schedules are not in prefect.yaml, so deploying keeps them as they are.)
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from uuid import UUID

from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentUpdate

from engines.core.errors import FruitsError, StageError
from flows.runtime.server import check_server

POOL = "fruits"
PROJECT = Path(__file__).resolve().parents[1]


def deploy() -> list[str]:
    """Create the work pool when it is not there, deploy; the names of what was deployed.

    Raises StageError when Prefect's command fails.
    """
    check_server()
    with get_client(sync_client=True) as client:
        paused = _paused(client)
        if _run("work-pool", "inspect", POOL).returncode != 0:
            _checked(_run("work-pool", "create", POOL, "--type", "process"))
        said = _checked(_run("--no-prompt", "deploy", "--all"))
        for deployment in sorted(paused):
            client.update_deployment(deployment, DeploymentUpdate(paused=True))
    return re.findall(r"Deployment '([^']+)' successfully created", said)


def _paused(client: SyncPrefectClient) -> set[UUID]:
    return {deployment.id for deployment in client.read_deployments() if deployment.paused}


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "prefect"), *arguments]
    # One line per message, whatever the width of the terminal.
    environment = {**os.environ, "COLUMNS": "500"}
    return subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)


def _checked(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode != 0:
        raise StageError(f"{' '.join(done.args)} failed", f"{done.stdout}{done.stderr}".strip())
    return done.stdout


def main() -> None:
    """Deploy and say what; a FruitsError is told without a traceback, with exit code 1."""
    try:
        names = deploy()
    except FruitsError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)
    sys.stdout.write("".join(f"deployed {name}\n" for name in names))


if __name__ == "__main__":
    main()
