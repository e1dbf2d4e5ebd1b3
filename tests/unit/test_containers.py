"""Dockerfile, compose.yaml and the workflows, as far as they can be checked without a container engine."""

from __future__ import annotations

import fnmatch
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[2]
BESIDE = Path(sys.executable).parent
COMPOSE: dict[str, Any] = yaml.safe_load((PROJECT / "compose.yaml").read_text())
DOCKERFILE = re.sub(r"\\\n\s*", "", (PROJECT / "Dockerfile").read_text())


def program(name: str) -> str:
    found = shutil.which(name, path=f"{BESIDE}:/usr/local/bin:/usr/bin")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def run(*command: str) -> None:
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dockerfile_follows_hadolint() -> None:
    run(program("hadolint"), "Dockerfile")


def test_compose_follows_the_specification() -> None:
    run(program("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", "compose.yaml")


@pytest.mark.parametrize("workflow", sorted(path.name for path in PROJECT.glob(".github/workflows/*")))
def test_workflows_follow_their_schema(workflow: str) -> None:
    schema = "vendor.github-workflows"
    run(program("check-jsonschema"), "--builtin-schema", schema, f".github/workflows/{workflow}")


def test_the_updates_follow_their_schema() -> None:
    run(program("check-jsonschema"), "--builtin-schema", "vendor.dependabot", ".github/dependabot.yml")


def copied() -> list[str]:
    """What the Dockerfile copies from the project."""
    lines = re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, flags=re.MULTILINE)
    return sorted({name for line in lines for name in line.split()[:-1]})


def test_what_is_copied_is_there_and_is_let_in() -> None:
    rules = [line for line in (PROJECT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert rules[0] == "*"
    let_in = {rule[1:] for rule in rules if rule.startswith("!")}
    assert copied() == sorted(let_in)
    for name in copied():
        assert (PROJECT / name).exists()


@pytest.mark.parametrize("name", [".venv", ".prefect", ".env", ".git", "demo", "features", "fruits.toml"])
def test_what_is_private_or_large_stays_out(name: str) -> None:
    assert not any(fnmatch.fnmatch(name, pattern) for pattern in copied())


def test_the_image_is_of_the_lock_file_and_does_not_run_as_root() -> None:
    installs = re.findall(r"\buv sync .*|\bpip install .*", DOCKERFILE)
    assert installs
    assert all("uv sync --locked --no-default-groups" in install for install in installs)
    users = re.findall(r"^USER (\S+)$", DOCKERFILE, flags=re.MULTILINE)
    assert users[-1].isdigit()
    assert int(users[-1]) > 0


def test_no_secret_is_in_the_files_and_those_needed_are_asked_for() -> None:
    text = (PROJECT / "compose.yaml").read_text()
    wanted = set(re.findall(r"\$\{([A-Z_]+):\?", text))
    example = dict(
        line.split("=", 1)
        for line in (PROJECT / ".env.example").read_text().splitlines()
        if re.match(r"[A-Z_]+=", line)
    )
    assert wanted == {"POSTGRES_PASSWORD", "PREFECT_AUTH_STRING"}
    assert {name: example[name] for name in wanted} == dict.fromkeys(wanted, "")


def test_nothing_is_open_to_the_network_unless_asked_for() -> None:
    for name, service in COMPOSE["services"].items():
        for port in service.get("ports", []):
            assert re.match(r"127\.0\.0\.1:|\$\{PREFECT_HOST:-127\.0\.0\.1\}:", port), (name, port)


def test_everything_that_stays_up_is_watched_and_waits_for_what_it_needs() -> None:
    services = COMPOSE["services"]
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            checked = "healthcheck" in services[other]
            assert how["condition"] == ("service_healthy" if checked else "service_completed_successfully"), name
    assert {name for name, service in services.items() if "healthcheck" not in service} == {"deploy", "dask-worker"}


def test_the_pool_of_the_worker_is_that_of_the_deployments() -> None:
    deployments = yaml.safe_load((PROJECT / "prefect.yaml").read_text())["deployments"]
    command = COMPOSE["services"]["worker"]["command"]
    assert {one["work_pool"]["name"] for one in deployments} == {command[command.index("--pool") + 1]}


def test_commands_of_the_services_are_texts() -> None:
    for service in COMPOSE["services"].values():
        assert all(isinstance(word, str) for word in service.get("command", [])), json.dumps(service["command"])
