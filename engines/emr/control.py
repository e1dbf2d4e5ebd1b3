"""Looks at a run's jobs and stops them from outside the run: for `fruits emr` and the flow's hooks."""

from __future__ import annotations

from engines.core.errors import FruitsError, InputError
from engines.emr.archive import Artifacts
from engines.emr.calls import LOGGER, Aws
from engines.emr.cluster import ClusterRunner
from engines.emr.cost import cost_record
from engines.emr.protocol import JobRunner, JobStatus
from engines.emr.serverless import ServerlessRunner
from engines.emr.settings import EmrSettings


def open_runner(engine: str, settings: EmrSettings) -> JobRunner:
    """The runner of `emr-serverless` or `emr-cluster`."""
    aws = Aws(settings)
    artifacts = Artifacts(settings, aws)
    if engine == "emr-serverless":
        return ServerlessRunner(settings, aws, artifacts)
    if engine == "emr-cluster":
        return ClusterRunner(settings, aws, artifacts)
    raise InputError(f"{engine} does not run on EMR", "Choose emr-serverless or emr-cluster.")


def jobs_of(runner: JobRunner, run: str) -> list[JobStatus]:
    """The run's jobs, oldest first. Raises InputError when AWS knows none."""
    jobs = [job for job in runner.find() if job.name.run == run]
    if not jobs:
        raise InputError(f"AWS knows no job of the run {run}", "Check the id: `fruits emr status` lists the runs.")
    return jobs


def stop_run(engine: str, settings: EmrSettings, run: str) -> list[str]:
    """Cancel every job of the run that may cost money, and terminate a cluster created for it; returns their ids.

    Jobs that are ending already are not cancelled again. If a job cannot be stopped, the others are stopped
    nevertheless, and its error is raised at the end.
    """
    runner = open_runner(engine, settings)
    stopped = []
    failure: FruitsError | None = None
    for job in runner.find():
        if job.name.run == run and job.state.active:
            LOGGER.warning("cancelling the job %s of the run %s", job.id, run)
            try:
                runner.cancel(job.id)
                stopped.append(job.id)
            except FruitsError as error:
                failure = error
    stopped += runner.stop_leftovers(run)
    if failure is not None:
        raise failure
    return stopped


def run_cost(engine: str, settings: EmrSettings, run: str) -> dict[str, str | float]:
    """Billed hours and cost of a run, as far as AWS reports them now."""
    runner = open_runner(engine, settings)
    jobs_of(runner, run)
    return cost_record(settings, engine, runner.billed(run))
