"""`fruits` as a person calls it: a process, an exit code, and what it prints."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.prefect_kit import PrefectKit

FRUITS = str(Path(sys.executable).with_name("fruits"))
FEW = ("--components", "8", "--shard-size", "16", "--workers", "1")
GOOD, BAD = 60, 3
"""Photos of the `source` of these tests, and files among them that are none."""


@dataclass(frozen=True)
class Outcome:
    """How a call of `fruits` ended; runs of blanks and line breaks in its output are one blank."""

    code: int
    printed: str
    errors: str

    def assert_refused(self, message: str, hint: str, code: int = 2) -> None:
        """A clear error: the message, what to do, nothing printed as a result, and no traceback."""
        assert message in self.errors
        assert hint in self.errors
        assert "Traceback" not in self.errors
        assert (self.code, self.printed) == (code, "")


class CommandLine:
    """Calls `fruits`, with the Prefect server of a kit, or with none configured."""

    def __init__(self, prefect: PrefectKit, *, served: bool = True) -> None:
        self._prefect = prefect
        self._left_out = () if served else ("PREFECT_API_URL",)

    @property
    def environment(self) -> dict[str, str]:
        """The variables that `fruits` gets."""
        return {name: value for name, value in self._prefect.environment.items() if name not in self._left_out}

    def __call__(self, *arguments: str | Path) -> Outcome:
        command = [FRUITS, *map(str, arguments)]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=280, check=False)
        return Outcome(done.returncode, " ".join(done.stdout.split()), " ".join(done.stderr.split()))

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Start it, to be interfered with."""
        return subprocess.Popen(
            [FRUITS, *map(str, arguments)],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, source: Path | str, output: Path | str, weights: str, *options: str) -> Outcome:
        return self("run", source, output, "--weights", weights, *FEW, *options)
