"""Every command in a console block of the docs is one that exists, with options that it has."""

from __future__ import annotations

import functools
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer

pytest.importorskip("prefect", reason="prefect is not installed: fruit-features[flows]")

PROJECT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    "README.md",
    "CONTRIBUTING.md",
    *sorted(str(path.relative_to(PROJECT)) for path in PROJECT.glob("deployments/*.md")),
]

# Programs of others: that they are spelled right is all that is checked.
OTHERS = {"aws", "apt-get", "cp", "dask", "docker", "duckdb", "mkdir", "pip", "psql", "source", "uv"}


def commands_in(text: str) -> list[str]:
    """The commands of all console and bash blocks: continued lines joined, without comments and what was printed."""
    found = []
    for block in re.findall(r"^ *```(?:console|bash)\n(.*?)^ *```", text, flags=re.DOTALL | re.MULTILINE):
        lines = re.sub(r"\\\n\s*", "", block).splitlines()
        if any(line.lstrip().startswith("$ ") for line in lines):  # then the rest is what they print
            lines = [line.lstrip()[2:] for line in lines if line.lstrip().startswith("$ ")]
        found += [command for line in lines if (command := _without_comment(line).strip())]
    return found


def _without_comment(line: str) -> str:
    return re.split(r"(?:^|\s)#(?:\s|$)", line, maxsplit=1)[0]


def words_of(command: str) -> list[str]:
    """The program and its arguments: without `uv run`, variables that are set, and where the output goes."""
    if re.fullmatch(r"[A-Z_]+=\$\(.*\)", command):
        return []
    words = shlex.split(re.split(r"\s+>\s", command)[0])
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words.pop(0)
    if words[:2] == ["uv", "run"]:
        words = words[2:]
        while words and words[0].startswith("-"):
            words.pop(0)
    return words


def documented() -> Iterator[tuple[str, str]]:
    for document in DOCUMENTS:
        for command in commands_in((PROJECT / document).read_text()):
            yield document, command


CASES = sorted(set(documented()))


@pytest.mark.parametrize(("document", "command"), CASES, ids=[f"{document}: {command}" for document, command in CASES])
def test_it_is_a_command_that_exists(document: str, command: str) -> None:
    words = words_of(command)
    if not words or words[0] == "export":
        return
    program, *arguments = words
    if program == "make":
        targets = [argument for argument in arguments if "=" not in argument]
        done = subprocess.run(["make", "-n", *targets], cwd=PROJECT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    elif program == "fruits":
        check_fruits(arguments)
    elif program == "prefect":
        check_prefect(arguments)
    elif program == "python":
        check_module(arguments)
    else:
        assert program in OTHERS, f"{document} has the unknown program {program}"
        # What such a program is to call is ours again.
        for inner in ("fruits", "prefect"):
            if program == "docker" and f" {inner} " in command:
                check = check_fruits if inner == "fruits" else check_prefect
                check(arguments[arguments.index(inner) + 1 :])


def check_fruits(arguments: list[str]) -> None:
    """Parse as `fruits` does, without running anything; a documented COMMAND stands for any."""
    from flows.cli import app

    if arguments[0] == "--version":
        return
    group = typer.main.get_command(app)
    parse(group, ["run" if argument == "COMMAND" else argument for argument in arguments], "fruits")


def parse(command: click.Command, arguments: list[str], name: str) -> None:
    """Parse the arguments of a command or, of a group, those of its command. Raises click's UsageError."""
    if "--help" in arguments:
        arguments = [argument for argument in arguments if argument != "--help"]
        context = click.Context(command, info_name=name)
    else:
        with command.make_context(name, list(arguments)) as context:
            pass
    if hasattr(command, "get_command"):
        inner = command.get_command(context, arguments[0])
        assert inner is not None, f"{name} has no command {arguments[0]}"
        parse(inner, arguments[1:], f"{name} {arguments[0]}")


def check_prefect(arguments: list[str]) -> None:
    """Parse as `prefect` does, without running anything."""
    from prefect.cli._app import _app

    while arguments[0] in ("--no-prompt", "--prompt"):
        arguments = arguments[1:]
    # Types of work pools are those of installed packages: any will do here.
    _app.parse_args(arguments, exit_on_error=False, print_error=False)


def check_module(arguments: list[str]) -> None:
    """`python -m MODULE OPTIONS`: the module's help names each option."""
    assert arguments[0] == "-m", arguments
    helped = module_help(arguments[1])
    for option in (argument for argument in arguments[2:] if argument.startswith("--")):
        assert option.partition("=")[0] in helped, f"{arguments[1]} has no {option}"


@functools.cache
def module_help(module: str) -> str:
    source = PROJECT.joinpath(*module.split(".")).with_suffix(".py")
    assert source.is_file(), f"there is no module {module}"
    if "typer" not in source.read_text():
        return ""  # takes no options
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"],
        cwd=PROJECT, capture_output=True, text=True, timeout=120, check=True, env={"COLUMNS": "300", "NO_COLOR": "1"},
    )  # fmt: skip
    return done.stdout


@pytest.mark.parametrize("command", ["fruits --version", "make help", "python -m deployments.automations --help"])
def test_those_that_only_look_run_as_they_are_written(command: str) -> None:
    program, *arguments = shlex.split(command)
    beside = Path(sys.executable).with_name(program)
    done = subprocess.run(
        [str(beside) if beside.exists() else program, *arguments],
        cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_readme_says_how_to_call_the_command_before_it_does() -> None:
    commands = commands_in((PROJECT / "README.md").read_text())
    after_demo = commands[commands.index("make demo") :]
    activated = next(
        number for number, command in enumerate(after_demo) if command.startswith("source .venv/bin/activate")
    )
    assert not any(command.startswith("fruits ") for command in after_demo[:activated])


@pytest.mark.parametrize("faulty", ["fruits run a b --no-such-option", "fruits rum a b", "prefect deploy --alll"])
def test_a_wrong_command_would_be_found(faulty: str) -> None:
    with pytest.raises((click.UsageError, Exception)) as raised:
        test_it_is_a_command_that_exists("README.md", faulty)
    assert any(word in str(raised.value) for word in ("no-such-option", "rum", "alll"))
