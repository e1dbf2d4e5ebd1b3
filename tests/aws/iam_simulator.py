"""What IAM decides about requests, by a simulator that knows AWS's actions, resources and condition keys."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).with_name("iam")


@dataclass(frozen=True)
class Request:
    """An action on a resource, with what AWS puts into the context of the request."""

    action: str
    resource: str
    context: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Decision:
    """`allowed`, or not; `star_only`: AWS knows no resource for this action, so a policy can only say `*`."""

    allowed: bool
    star_only: bool


def install() -> None:
    """Install the simulator once. Skips, outside of CI, where Node.js or the npm registry is not to be had."""
    missing = [program for program in ("node", "npm") if shutil.which(program) is None]
    if missing:
        pytest.skip(f"the simulator of IAM needs {' and '.join(missing)}, which is not installed")
    installed, wanted = FOLDER / "node_modules" / ".package-lock.json", FOLDER / "package-lock.json"
    if installed.exists() and installed.stat().st_mtime >= wanted.stat().st_mtime:
        return
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)
    if done.returncode != 0 and "CI" not in os.environ:
        pytest.skip(f"the simulator of IAM cannot be installed here: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stderr


def decide(
    requests: list[Request], policies: dict[str, dict[str, Any]], principal: str, account: str
) -> dict[Request, Decision]:
    """The decision on each request of `principal`, who has `policies`. Fails for what AWS does not know."""
    # As KMS makes it: a key is used by whom the account's policies allow it.
    root = {"AWS": f"arn:aws:iam::{account}:root"}
    statement = {"Sid": "Enable", "Effect": "Allow", "Principal": root, "Action": "kms:*", "Resource": "*"}
    key_policy = {"Version": "2012-10-17", "Statement": [statement]}
    documents = [{"name": name, "policy": document} for name, document in policies.items()]
    simulations = [
        {
            "request": {
                "principal": principal,
                "action": request.action,
                "resource": {"resource": request.resource, "accountId": account},
                "contextVariables": dict(request.context),
            },
            "identityPolicies": documents,
            "serviceControlPolicies": [],
            "resourceControlPolicies": [],
            **({"resourcePolicy": key_policy} if request.action.startswith("kms:") else {}),
        }
        for request in requests
    ]
    command = ["node", str(FOLDER / "simulate.mjs")]
    done = subprocess.run(command, input=json.dumps(simulations), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    decisions = {}
    for request, answer in zip(requests, json.loads(done.stdout), strict=True):
        assert answer["errors"] is None, (request, answer["errors"])
        decisions[request] = Decision(answer["decision"] == "Allowed", answer["withoutResource"])
    return decisions
