"""`fruits emr init` and `fruits emr destroy` in this process, as in a terminal with nobody at the keyboard."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from flows import cli


@dataclass
class Done:
    """How a command ended, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


@dataclass
class Terminal:
    """`fruits emr ...` in a folder of its own, with nobody at the keyboard."""

    folder: Path
    archive: Path
    capture: pytest.CaptureFixture[str]
    patch: pytest.MonkeyPatch

    @property
    def stack(self) -> str:
        return self.folder.name.replace("_", "-").strip("-")

    @property
    def bucket(self) -> str:
        return f"{self.stack}-bucket-1a2b3c4d5e6f"

    def emr(self, command: str, *options: str) -> Done:
        self.patch.setattr(sys, "argv", ["fruits", "emr", command, "--stack", self.stack, *options])
        self.capture.readouterr()
        code: object = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code
        said = self.capture.readouterr()
        return Done(int(str(code or 0)), said.out, said.err)

    def init(self, *options: str) -> Done:
        return self.emr("init", "--archive", str(self.archive), "--no-trial", *options)


def refused(done: Done, message: str, hint: str) -> None:
    """The command ended with this error, without a traceback, and says what to do."""
    assert done.returncode in (1, 2), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert message in done.stderr
    assert hint in done.stderr
