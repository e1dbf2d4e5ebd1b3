"""`fruits emr`: what runs on EMR need (init, push, destroy) and cost, and what a person does about them (stop, ...)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.assignments import read_assignments
from flows.commands import emr_setup
from flows.options.emr import EmrJobs, EmrStatus, EmrTable
from flows.signatures import Option, as_command

if TYPE_CHECKING:
    from engines.emr.protocol import JobStatus
    from engines.emr.settings import EmrSettings

DIST = Path("dist", "emr")


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    group = typer.Typer(
        no_args_is_help=True, help="Runs on Amazon EMR: init, estimate, push, destroy; status, logs, stop, cost."
    )
    for command in (emr_setup.init, estimate, push, status, logs, stop, cost, emr_setup.destroy):
        group.command()(command)
    app.add_typer(group, name="emr")


@dataclass(frozen=True, slots=True)
class Archive:
    """What to push."""

    archive: Annotated[
        Path | None, Option("The archive; the newest in dist/emr by default.", metavar="ARCHIVE", argument=True)
    ] = None


@dataclass(frozen=True, slots=True)
class Images:
    """What a run would do."""

    images: Annotated[int, Option("So many images.", metavar="IMAGES", minimum=1, argument=True)] = 0


@as_command(Images, EmrTable)
def estimate(asked: Images, table: EmrTable) -> None:
    """Show what a run of so many images is likely to take and to cost. Asks nothing of AWS, and needs no account.

    The time to start, and what a vCPU does, are assumptions; after a run `fruits emr cost RUN` has what AWS billed.
    """
    from engines.core.errors import InputError
    from engines.core.index.selection import Selection
    from engines.emr.cost import estimate_job, load_prices
    from engines.emr.sizing import Work, size_for_job
    from engines.registry import ENGINES

    if asked.images < 1:
        raise InputError(f"{asked.images} images are no run", "Give at least 1.")
    settings = _settings(table)
    images = Work(asked.images, math.ceil(asked.images / Selection().shard_size))
    work = dict.fromkeys(("featurize", "fit_pca", "project"), images)
    executors = size_for_job(settings, work).executors
    for engine in (name for name, row in ENGINES.items() if row.remote):
        workers = f"{executors} executor{'s' * (executors > 1)} of {settings.executor_cores} vCPU"
        if engine == "emr-cluster":
            workers = f"{1 + executors} {settings.instance_type}"
        _print(f"{engine:<16}{workers}, {estimate_job(settings, engine, work)}")
    dated = load_prices(settings, "emr-serverless").date
    _print(f"{'prices':<16}{settings.region}, as of {dated}; S3's requests come on top")


@as_command(Archive, EmrTable)
def push(pushed: Archive, table: EmrTable) -> None:
    """Upload the archive of `make emr-package` and the entry point: what is not there yet, by digest."""
    from engines.core.errors import InputError
    from engines.emr.archive import Artifacts
    from engines.emr.calls import Aws

    settings = settings_of(table)
    archive = pushed.archive
    if archive is None:
        built = sorted(DIST.glob("*.tar.gz"), key=lambda path: path.stat().st_mtime)
        if not built:
            raise InputError(f"there is no archive in {DIST}", "Build one with `make emr-package`.")
        archive = built[-1]
    uploaded = Artifacts(settings, Aws(settings)).push(archive)
    for url in uploaded:
        _print(f"uploaded {url}")
    _print(f"{archive.name} is current in {settings.artifacts}" + ("" if uploaded else "; it was there already"))


@as_command(EmrStatus, EmrTable)
def status(jobs: EmrStatus, table: EmrTable) -> None:
    """Show the jobs of a run with links to their Spark UI, or all jobs of the last seven days."""
    from engines.emr.control import jobs_of, open_runner

    runner = open_runner(jobs.engine, settings_of(table))
    for job in jobs_of(runner, jobs.run) if jobs.run else runner.find():
        _print(_line(job))
        if jobs.run and not job.state.ended:
            _print(f"  {runner.dashboard(job.id)}")


@as_command(EmrJobs, EmrTable)
def logs(jobs: EmrJobs, table: EmrTable) -> None:
    """Show the end of the driver's log of the run's last job."""
    from engines.emr.control import jobs_of, open_runner

    runner = open_runner(jobs.engine, settings_of(table))
    job = jobs_of(runner, jobs.run)[-1]
    _print(_line(job))
    _print(runner.logs(job.id))


@as_command(EmrJobs, EmrTable)
def stop(jobs: EmrJobs, table: EmrTable) -> None:
    """Cancel the run's jobs, and terminate a cluster that was created for it."""
    from engines.emr.control import stop_run

    stopped = stop_run(jobs.engine, settings_of(table), jobs.run)
    _print("\n".join(f"stopped {one}" for one in stopped) or "nothing was running")


@as_command(EmrJobs, EmrTable)
def cost(jobs: EmrJobs, table: EmrTable) -> None:
    """Show what AWS billed for the run, and what that costs at the prices of the price file."""
    from engines.emr.control import run_cost

    for name, value in run_cost(jobs.engine, settings_of(table), jobs.run).items():
        _print(f"{name:<18}{value}")


def settings_of(table: EmrTable) -> EmrSettings:
    """Settings from options, environment and config file, with this process set to their credentials."""
    from flows.credentials import use_block

    settings = _settings(table)
    use_block(settings.credentials_block, region=settings.region)
    return settings


def _settings(table: EmrTable) -> EmrSettings:
    from engines.emr.settings import load_settings

    return load_settings(read_assignments("--emr", table.emr_assignments, "executors=4"), config=table.config)


def _line(job: JobStatus) -> str:
    name = job.name
    return f"{name.run}  job {name.attempt}  {job.aws_state:<10} {job.id}  {job.detail}".rstrip()


def _print(text: str) -> None:

    from flows.views.console import console

    console(soft_wrap=True).print(text)
