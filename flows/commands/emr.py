"""`fruits emr`: what runs on EMR needs (push), and what a person does about runs (status, logs, stop, cost)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.options import Config, Setting

if TYPE_CHECKING:
    from engines.emr.protocol import JobRunner, JobStatus
    from engines.emr.settings import EmrSettings

DIST = Path("dist", "emr")

Engine = Annotated[str, typer.Option(help="emr-serverless or emr-cluster.")]
Run = Annotated[str, typer.Argument(help="The run's id, as `fruits emr status` and run.json name it.", metavar="RUN")]


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    group = typer.Typer(no_args_is_help=True, help="Runs on Amazon EMR: push the archive; status, logs, stop, cost.")
    for command in (push, status, logs, stop, cost):
        group.command()(command)
    app.add_typer(group, name="emr")


def push(
    archive: Annotated[
        Path | None, typer.Argument(help="The archive; the newest in dist/emr by default.", metavar="ARCHIVE")
    ] = None,
    config: Config = None,
    emr: Setting = None,
) -> None:
    """Upload the archive of `make emr-package` and the entry point: what is not there yet, by digest."""
    from engines.core.errors import InputError
    from engines.emr.archive import Artifacts
    from engines.emr.calls import Aws

    settings = settings_of(config, emr)
    if archive is None:
        built = sorted(DIST.glob("*.tar.gz"), key=lambda path: path.stat().st_mtime)
        if not built:
            raise InputError(f"there is no archive in {DIST}", "Build one with `make emr-package`.")
        archive = built[-1]
    uploaded = Artifacts(settings, Aws(settings)).push(archive)
    for url in uploaded:
        _print(f"uploaded {url}")
    _print(f"{archive.name} is current in {settings.artifacts}" + ("" if uploaded else "; it was there already"))


def status(
    run: Annotated[str | None, typer.Argument(help="The run's id; all runs by default.", metavar="RUN")] = None,
    engine: Engine = "emr-serverless",
    config: Config = None,
    emr: Setting = None,
) -> None:
    """Show the jobs of a run with links to their Spark UI, or all jobs of the last seven days."""
    from engines.emr.control import jobs_of

    runner = _runner(engine, config, emr)
    for job in jobs_of(runner, run) if run else runner.find():
        _print(_line(job))
        if run and not job.state.ended:
            _print(f"  {runner.dashboard(job.id)}")


def logs(run: Run, engine: Engine = "emr-serverless", config: Config = None, emr: Setting = None) -> None:
    """Show the end of the driver's log of the run's last job."""
    from engines.emr.control import jobs_of

    runner = _runner(engine, config, emr)
    job = jobs_of(runner, run)[-1]
    _print(_line(job))
    _print(runner.logs(job.id))


def stop(run: Run, engine: Engine = "emr-serverless", config: Config = None, emr: Setting = None) -> None:
    """Cancel the run's jobs, and terminate a cluster that was created for it."""
    from engines.emr.control import stop_run

    stopped = stop_run(engine, settings_of(config, emr), run)
    _print("\n".join(f"stopped {one}" for one in stopped) or "nothing was running")


def cost(run: Run, engine: Engine = "emr-serverless", config: Config = None, emr: Setting = None) -> None:
    """Show what AWS billed for the run, and what that costs at the prices of the price file."""
    from engines.emr.control import run_cost

    for name, value in run_cost(engine, settings_of(config, emr), run).items():
        _print(f"{name:<18}{value}")


def parse_settings(assignments: list[str] | None) -> dict[str, Any]:
    """`NAME=VALUE` texts as a mapping. Raises InputError for a text without `=`."""
    from engines.core.errors import InputError

    pairs = {}
    for text in assignments or []:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"--emr {text} sets nothing", "Write --emr NAME=VALUE, such as --emr executors=4.")
        pairs[name.strip()] = value.strip()
    return pairs


def settings_of(config: str | None, assignments: list[str] | None) -> EmrSettings:
    """Settings from options, environment and config file, with this process set to their credentials."""
    from engines.emr.settings import load_settings
    from flows.credentials import use_settings

    settings = load_settings(parse_settings(assignments), config=config)
    use_settings(settings)
    return settings


def _runner(engine: str, config: str | None, assignments: list[str] | None) -> JobRunner:
    from engines.emr.control import open_runner

    return open_runner(engine, settings_of(config, assignments))


def _line(job: JobStatus) -> str:
    name = job.name
    return f"{name.run}  {name.stage:<10} attempt {name.attempt}  {job.aws_state:<10} {job.id}  {job.detail}".rstrip()


def _print(text: str) -> None:
    from rich.console import Console
    from rich.text import Text

    Console(highlight=False).print(Text(text), soft_wrap=True)
