"""The Dockerfile without a container engine: its instructions, run one by one in roots of their own.

Knows the instructions that the Dockerfile uses, and raises for any other. Roots are made by debootstrap, so it takes
Linux and root; the official Python image is stood in for by Debian's Python of the same release.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
DEBIAN = "bookworm"


@dataclass(frozen=True)
class Instruction:
    """One instruction, its continued lines joined."""

    name: str
    rest: str


def instructions(dockerfile: str) -> list[Instruction]:
    """The instructions in order, without comments."""
    lines = [line for line in dockerfile.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [
        Instruction(name.upper(), rest.strip())
        for name, _, rest in (line.partition(" ") for line in joined.splitlines())
    ]


@dataclass
class Stage:
    """A stage: the folder that is its /, and what later instructions depend on."""

    root: Path
    environment: dict[str, str] = field(
        default_factory=lambda: {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}
    )
    workdir: str = "/"
    shell: list[str] = field(default_factory=lambda: ["/bin/sh", "-c"])
    user: str = "0"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)

    def run(self, command: list[str], timeout: float = 1800) -> subprocess.CompletedProcess[str]:
        """Run a command in this root, as its user, with its own /proc and the machine's /dev."""
        inside = ["chroot", f"--userspec={self.user}:{self.user}", str(self.root), "/bin/sh", "-c"]
        script = f"cd {shlex.quote(self.workdir)} && exec {shlex.join(command)}"
        mounts = f'mount -t proc proc {self.root}/proc && mount --rbind /dev {self.root}/dev && exec "$@"'
        return subprocess.run(
            ["unshare", "--mount", "/bin/sh", "-c", mounts, "sh", *inside, script],
            env={**_network(), **self.environment, "HOME": "/home/fruits" if self.user != "0" else "/root"},
            capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip


def build(folder: Path, uv: str, arguments: dict[str, str] | None = None) -> Stage:
    """Run the Dockerfile; its last stage. `uv` is the program that the image of uv would bring.

    Raises AssertionError with what was said when an instruction fails, ValueError for an unknown one.
    """
    base = _base(folder / "base")
    global_arguments: dict[str, str] = {}
    stages: dict[str, Stage] = {}
    stage: Stage | None = None
    for step in instructions((PROJECT / "Dockerfile").read_text()):
        if step.name == "FROM":
            name = step.rest.split()[-1] if " AS " in step.rest else "final"
            stage = Stage(folder / name)
            if step.rest.startswith("ghcr.io/astral-sh/uv:"):
                stage.root.mkdir()
                shutil.copy(uv, stage.root / "uv")
            else:
                subprocess.run(["cp", "-a", str(base), str(stage.root)], check=True)
            stages[name] = stage
        elif step.name == "ARG":
            name, _, default = step.rest.partition("=")
            value = (arguments or {}).get(name, default.strip('"'))
            (global_arguments if stage is None else stage.environment)[name] = value
        else:
            assert stage is not None
            _perform(step, stage, stages)
    assert stage is not None
    return stage


def _perform(step: Instruction, stage: Stage, stages: dict[str, Stage]) -> None:
    if step.name == "ENV":
        for name, value in (pair.split("=", 1) for pair in shlex.split(step.rest)):
            stage.environment[name] = value.replace("$PATH", stage.environment["PATH"])
    elif step.name == "SHELL":
        stage.shell = json.loads(step.rest)
    elif step.name == "WORKDIR":
        stage.workdir = step.rest
        (stage.root / step.rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
    elif step.name == "USER":
        stage.user = step.rest
    elif step.name == "ENTRYPOINT":
        stage.entrypoint = json.loads(step.rest)
    elif step.name == "CMD":
        stage.command = json.loads(step.rest)
    elif step.name == "COPY":
        _copy(step.rest.split(), stage, stages)
    elif step.name == "RUN":
        done = stage.run([*stage.shell, re.sub(r"^(--mount=\S+\s+)+", "", step.rest)])
        assert done.returncode == 0, f"RUN {step.rest}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    else:
        raise ValueError(f"unknown instruction {step.name}")


def _copy(words: list[str], stage: Stage, stages: dict[str, Stage]) -> None:
    source = PROJECT
    if words[0].startswith("--from="):
        source = stages[words.pop(0).removeprefix("--from=")].root
    *names, target = words
    place = stage.root / os.path.join(stage.workdir, target).lstrip("/")
    many = target.endswith("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    for name in names:
        goal = place / Path(name).name if many else place
        goal.parent.mkdir(parents=True, exist_ok=True)
        found = source / name.lstrip("/")
        if found.is_dir():
            shutil.copytree(
                found, goal, symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy2(found, goal)


def _base(root: Path) -> Path:
    """Debian with its Python, and this machine's way to the network."""
    wanted = "--include=python3,python3-venv,ca-certificates"
    subprocess.run(
        ["debootstrap", "--variant=minbase", wanted, DEBIAN, str(root)], check=True, capture_output=True, text=True
    )
    for name in ("resolv.conf", "hosts", "ssl/certs/ca-certificates.crt"):
        if Path("/etc", name).exists():
            shutil.copy(Path("/etc", name), root / "etc" / name)
    return root


def _network() -> dict[str, str]:
    """Variables that say how this machine reaches the network."""
    return {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy") or "CERT" in name}
