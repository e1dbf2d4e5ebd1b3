"""`fruits run` in processes that come to harm, and what it made of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.photos import HOOK
from tests.command_line import FRUITS
from tests.parity.chain import bytes_of
from tests.processes import command_of, processes_with

SHARD_SIZE = 8
_END_SECONDS = 500
"""What a run may take here, and what is left of one to end: less than a test may."""
_MARK = "FRUITS_CHAOS_RUNS"
"""A variable of all processes of these runs, but those of a cluster that was there before."""


@dataclass(frozen=True)
class Ended:
    """How a run ended. `steps`: what its processes did to the storage, as `role step key`."""

    code: int
    errors: str
    steps: list[str]

    def shards_begun(self) -> int:
        """How often features of a shard were about to be written."""
        return sum(step.startswith("worker write features/") for step in self.steps)


@dataclass(frozen=True)
class Chaos:
    """Runs of one source on one engine, each in a folder of its own below `folder`."""

    source: Path | str
    weights: str
    engine: tuple[str, ...]
    folder: Path
    orders: Path
    """The file that says what is to happen, which the workers of a cluster know from its start on."""

    def run(
        self,
        output: Path,
        *options: str,
        plan: dict[str, object] | None = None,
        place: str | None = None,
        aside: Path | None = None,
        retry_seconds: float | None = None,
    ) -> Ended:
        """Run it into `output` with a plan (see hostile/sitecustomize.py).

        `place`: the output, where it is no folder. Files about the run are beside `output`, or beside `aside`.
        """
        beside = aside or output
        files = {name: beside.with_name(f"{beside.name}.{name}") for name in ("trace", "once", "driver")}
        for each in files.values():
            each.unlink(missing_ok=True)
        named = {name: str(path) for name, path in files.items()}
        self.orders.write_text(json.dumps({**named, "plan": plan, "retry_seconds": retry_seconds}))
        self.scratch.mkdir(exist_ok=True)
        environment = {**os.environ, **variables(self.orders), "FRUITS_CHAOS_DRIVER": "new"}
        environment |= {"TMPDIR": str(self.scratch), _MARK: str(self.folder)}
        environment.pop("PREFECT_API_URL", None)
        command = [
            FRUITS,
            "run",
            self.source,
            place or output,
            "--weights",
            self.weights,
            "--no-prefect",
            "--components",
            "8",
        ]
        done = subprocess.run(
            [*map(str, command), "--shard-size", str(SHARD_SIZE), *self.engine, *options],
            env=environment,
            capture_output=True,
            text=True,
            timeout=_END_SECONDS,
            check=False,
        )
        steps = files["trace"].read_text().splitlines() if files["trace"].exists() else []
        return Ended(done.returncode, done.stderr, steps)

    @property
    def scratch(self) -> Path:
        """The TMPDIR of all these runs."""
        return self.folder / "scratch"

    def left_behind(self) -> list[str]:
        """What is left of these runs, once they have had time to end: processes, and files in TMPDIR."""
        deadline = time.monotonic() + _END_SECONDS
        while (left := processes_with(_MARK, str(self.folder))) and time.monotonic() < deadline:
            time.sleep(0.5)
        return [command_of(process) for process in left] + [str(path) for path in self.scratch.iterdir()]

    def finish(self, output: Path, *options: str, place: str | None = None, aside: Path | None = None) -> Ended:
        """Run it; it must succeed."""
        ended = self.run(output, *options, place=place, aside=aside)
        assert ended.code == 0, ended.errors
        return ended


def variables(orders: Path) -> dict[str, str]:
    """What a process needs to come to harm as `orders` say."""
    return {
        "PYTHONPATH": os.pathsep.join([str(HOOK), os.environ["PYTHONPATH"]]),
        "FRUITS_CHAOS_FILE": str(orders),
    }


def published(output: Path) -> dict[str, str]:
    """The sha256 of every file that readers see."""
    return {name: digest for name, digest in bytes_of(output).items() if not os.path.basename(name).startswith(".")}


def killed(ended: Ended) -> bool:
    """Whether the driver was ended by the plan."""
    return ended.code == -signal.SIGKILL
