"""What `fruits` says of itself, and what it says where it cannot start."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import click
import pytest
import typer

from flows.cli import app


def call(*arguments: str, before: str = "") -> subprocess.CompletedProcess[str]:
    code = f"{before}\nimport sys\nsys.argv = ['fruits', *{list(arguments)!r}]\nfrom flows.start import main\nmain()"
    return subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=60, check=False)


def test_it_says_its_version() -> None:
    done = call("--version")
    assert (done.returncode, done.stdout) == (0, f"fruit-features {version('fruit-features')}\n")


def test_a_shell_can_complete_it() -> None:
    assert "--show-completion" in call("--help").stdout


def commands(group: click.Command, name: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The words of every command of the program."""
    inner = getattr(group, "commands", {})
    return [found for word, one in inner.items() for found in commands(one, (*name, word))] or [name]


@pytest.mark.parametrize("words", commands(typer.main.get_command(app)), ids=" ".join)
def test_every_help_shows_its_brackets(words: tuple[str, ...]) -> None:
    done = call(*words, "--help")
    assert done.returncode == 0, done.stderr
    # In the help of each of these options.
    assert done.stdout.count("[emr]") >= ("--config" in done.stdout) + ("--emr" in done.stdout)


def test_where_a_package_is_missing_it_says_what_to_install() -> None:
    # As in an environment of the bare wheel.
    done = call("demo", before="import sys\nsys.modules['typer'] = None")
    assert done.returncode == 2
    assert "needs the package typer, which is not installed" in done.stderr
    assert "fruit-features[all]" in done.stderr
    assert "Traceback" not in done.stderr
