"""Jobs on an application of EMR Serverless."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from engines.core.errors import InputError, StageError
from engines.emr.archive import Artifacts, Manifest
from engines.emr.calls import LOGGER, Aws, AwsCallError, refused
from engines.emr.cost_allocation import allocation_of
from engines.emr.log_tail import read_log_tail
from engines.emr.preflight import check_role
from engines.emr.protocol import Billed, JobName, JobRequest, JobStatus, State
from engines.emr.quota import account_limit
from engines.emr.releases import check_release
from engines.emr.settings import SETTINGS_OUTPUT, EmrSettings
from engines.emr.sizing import Limit, shrink_to, smallest_size
from engines.emr.spare_capacity import check_flex, spark_conf
from engines.emr.worker_hours import billed_workers, used_workers

SERVICE = "emr-serverless"

DRIVER_VARIABLE = "spark.emr-serverless.driverEnv"
EXECUTOR_VARIABLE = "spark.executorEnv"

LONGEST_RUN = timedelta(days=7)
"""The largest executionTimeoutMinutes that StartJobRun takes."""

_STATES = {
    "SUBMITTED": State.WAITING,
    "QUEUED": State.WAITING,
    "PENDING": State.WAITING,
    "SCHEDULED": State.WAITING,
    "RUNNING": State.RUNNING,
    "CANCELLING": State.ENDING,
    "SUCCESS": State.SUCCEEDED,
    "FAILED": State.FAILED,
    "CANCELLED": State.CANCELLED,
}

PYTHON = "./environment/bin/python"
"""The archive's interpreter, relative to the folder of every worker: EMR unpacks it into `environment`."""


class ServerlessRunner:
    """JobRunner of one application, which starts with its first job and stops when idle (see the template)."""

    def __init__(self, settings: EmrSettings, aws: Aws, artifacts: Artifacts) -> None:
        self._settings = settings
        self._aws = aws
        self._artifacts = artifacts
        self._quota: tuple[Limit | None, str] | None = None

    def submit(self, job: JobRequest) -> str:
        """See JobRunner. Because of the client token, AWS answers a repeated request with the job it started first."""
        size = job.size
        for limit in self._limits(self.application()):
            allowed = shrink_to(size, limit)
            if allowed != size:
                LOGGER.info("%d executors and not %d, because of %s", allowed.executors, size.executors, limit)
            size = allowed
        archive = self._artifacts.current()
        conf = self._conf(archive.url, size.spark_conf() | spark_conf(self._settings, job.tries))
        parameters = " ".join(f"--conf {name}={value}" for name, value in conf.items())
        flex: dict[str, Any] = {"flexExecution": {"enabled": True}} if self._settings.flex else {}
        try:
            answer = self._aws.call(
                SERVICE,
                "start_job_run",
                **flex,
                applicationId=self._application_id,
                clientToken=job.name.token,
                executionRoleArn=self._settings.execution_role,
                name=str(job.name),
                tags=job.name.tags,
                executionTimeoutMinutes=self._settings.timeout_minutes,
                jobDriver={
                    "sparkSubmit": {
                        "entryPoint": archive.entry_point,
                        "entryPointArguments": job.arguments,
                        "sparkSubmitParameters": parameters,
                    }
                },
                configurationOverrides={
                    "monitoringConfiguration": {"s3MonitoringConfiguration": {"logUri": f"{self._settings.logs}/"}}
                },
            )
        except AwsCallError as error:
            # The client token was used with other parameters before: this job was started then, for less work, say.
            if error.code == "ConflictException" and (found := self._active(job.name)):
                return found
            if self._settings.flex and "Validation" in error.code:
                raise refused(error, "the job could not be started with Flex", "Leave out flex = true.") from error
            raise refused(
                error,
                f"the job of the run {job.name.run} could not be started on {self._settings.application_id}",
                f"Check the execution role {self._settings.execution_role} (its trust in emr-serverless.amazonaws.com, "
                "and your iam:PassRole for it) and the application: the template in deployments/emr sets up both.",
            ) from error
        return str(answer["jobRunId"])

    def _active(self, name: JobName) -> str | None:
        return next((job.id for job in self.find() if job.name == name and job.state.active), None)

    def _conf(self, archive: str, size: dict[str, str]) -> dict[str, str]:
        return {
            **size,
            **{f"{role}.AWS_DEFAULT_REGION": self._settings.region for role in (DRIVER_VARIABLE, EXECUTOR_VARIABLE)},
            "spark.archives": f"{archive}#environment",
            f"{DRIVER_VARIABLE}.PYSPARK_DRIVER_PYTHON": PYTHON,
            f"{DRIVER_VARIABLE}.PYSPARK_PYTHON": PYTHON,
            f"{EXECUTOR_VARIABLE}.PYSPARK_PYTHON": PYTHON,
            # Spark prefers these to the variables, so that no default of an image decides.
            "spark.pyspark.driver.python": PYTHON,
            "spark.pyspark.python": PYTHON,
        }

    def adopt(self, job_id: str) -> None:
        """See JobRunner: nothing besides the job was created."""

    def poll(self, job_id: str) -> JobStatus:
        """See JobRunner."""
        run = self._read(job_id)
        name = JobName.parse(run.get("name", ""))
        if name is None:
            raise InputError(
                f"the job {job_id} ({run.get('name', 'no name')}) is not one of fruit-features", "Check the job's id."
            )
        return JobStatus(job_id, name, _state(run), run["state"], run.get("stateDetails", ""), billed_workers(run))

    def _read(self, job_id: str) -> dict[str, Any]:
        try:
            answer = self._aws.call(SERVICE, "get_job_run", applicationId=self._application_id, jobRunId=job_id)
        except AwsCallError as error:
            raise refused(error, f"the job {job_id} cannot be read", "Check the application's id.") from error
        run: dict[str, Any] = answer["jobRun"]
        return run

    def cancel(self, job_id: str) -> None:
        """See JobRunner."""
        try:
            self._aws.call(SERVICE, "cancel_job_run", applicationId=self._application_id, jobRunId=job_id)
        except AwsCallError as error:
            if not self.poll(job_id).state.active:
                return  # AWS refuses because the job has ended meanwhile, or somebody else cancelled it
            raise refused(
                error,
                f"the job {job_id} could not be cancelled",
                f"It goes on, for {self._settings.timeout_minutes} minutes at most: stop it in the console.",
            ) from error

    def logs(self, job_id: str) -> str:
        """See JobRunner."""
        folder = f"{self._settings.logs}/applications/{self._settings.application_id}/jobs/{job_id}/SPARK_DRIVER"
        return read_log_tail(self._aws, folder, ("stderr.gz", "stdout.gz"), self._settings.log_wait_seconds)

    def find(self) -> list[JobStatus]:
        """See JobRunner. AWS gives billed resources only for a single job, see `poll`."""
        found = []
        try:
            for run in self._aws.items(
                SERVICE,
                "list_job_runs",
                applicationId=self._application_id,
                createdAtAfter=datetime.now(UTC) - LONGEST_RUN,
                PaginationConfig={"PageSize": 50},
            ):
                name = JobName.parse(run.get("name", ""))
                if name is not None:
                    found.append((run["createdAt"], JobStatus(run["id"], name, _state(run), run["state"])))
        except AwsCallError as error:
            raise refused(
                error, f"the jobs of the application {self._settings.application_id} cannot be listed", "Check its id."
            ) from error
        return [status for _, status in sorted(found, key=lambda pair: pair[0])]

    def dashboard(self, job_id: str) -> str:
        """See JobRunner."""
        try:
            answer = self._aws.call(
                SERVICE, "get_dashboard_for_job_run", applicationId=self._application_id, jobRunId=job_id
            )
        except AwsCallError as error:
            raise refused(
                error, f"there is no link to the Spark UI of {job_id}", "Look at the job in the console."
            ) from error
        return str(answer["url"])

    def stop_leftovers(self, run: str) -> list[str]:  # noqa: ARG002 - nothing here outlives its jobs
        """See JobRunner: an application costs nothing without jobs."""
        return []

    def billed(self, run: str) -> Billed | None:
        """See JobRunner: the sum of billedResourceUtilization over the run's jobs."""
        total = Billed()
        for job in self.find():
            if job.name.run == run:
                status = self.poll(job.id)
                if status.billed is None and status.state.ended and status.state is not State.CANCELLED:
                    return None
                total += status.billed or Billed()
        return total

    def used(self, run: str, until: datetime) -> Billed:
        """See JobRunner."""
        jobs = [self._read(job.id) for job in self.find() if job.name.run == run]
        return sum((used_workers(job, until) for job in jobs), Billed())

    def check(self, manifest: Manifest) -> list[str]:
        """See JobRunner: the application, its release and architecture, and the execution role."""
        application = self.application()
        architecture = {"X86_64": "x86_64", "ARM64": "arm64"}[application.get("architecture", "X86_64")]
        if application["type"].lower() != "spark":
            raise InputError(
                f"the application {self._settings.application_id} is for {application['type']}",
                "Use one for Spark: the template in deployments/emr makes it.",
            )
        if architecture != manifest.architecture:
            raise InputError(
                f"the application {self._settings.application_id} is {architecture}, but the archive is "
                f"{manifest.architecture}",
                "Set architecture in the [emr] table, and build and push an archive on such a machine.",
            )
        release = check_release(application["releaseLabel"], manifest)
        for limit in self._limits(application):
            shrink_to(smallest_size(self._settings), limit)
        note = check_role(self._aws, self._settings.execution_role, "emr-serverless.amazonaws.com", "execution_role")
        where = f"application {self._settings.application_id}: {application['state']}, {release}, {architecture}"
        flex = [check_flex(self._aws, application["releaseLabel"])] if self._settings.flex else []
        return [where, note, self._account_limit()[1], allocation_of(application), *flex]

    def _limits(self, application: dict[str, Any]) -> list[Limit]:
        """The application's capacity, if it has one, and the account's quota, if it can be read."""
        capacity = application.get("maximumCapacity")
        hint = "Raise the application's maximum capacity (MaximumVcpus of the template), or choose smaller workers."
        own = [Limit("the capacity", _number(capacity["cpu"]), _number(capacity["memory"]), hint)] if capacity else []
        quota, _ = self._account_limit()
        return own if quota is None else [*own, quota]

    def _account_limit(self) -> tuple[Limit | None, str]:
        if self._quota is None:
            self._quota = account_limit(self._aws, self._settings.region)
        return self._quota

    def describe(self) -> dict[str, str | float]:
        """See JobRunner."""
        facts: dict[str, str | float] = {"application": self._settings.application_id}
        return facts | ({"capacity": "flex"} if self._settings.flex else {})

    def close(self) -> None:
        """See JobRunner: the application stops by itself when idle."""

    @property
    def _application_id(self) -> str:
        """The application's id. Raises InputError if none was given."""
        if not self._settings.application_id:
            raise InputError(
                "no EMR Serverless application was given",
                f"Set application_id in the [emr] table: {SETTINGS_OUTPUT}.",
            )
        return self._settings.application_id

    def application(self) -> dict[str, Any]:
        """AWS's description of the application. Raises InputError when it is missing or cannot take jobs."""
        try:
            answer = self._aws.call(SERVICE, "get_application", applicationId=self._application_id)
        except AwsCallError as error:
            raise refused(
                error,
                f"the EMR Serverless application {self._settings.application_id} in {self._settings.region} "
                "cannot be used",
                "Check application_id and region.",
            ) from error
        application: dict[str, Any] = answer["application"]
        if application["state"] in ("TERMINATED", "STOPPING"):
            raise StageError(
                f"the EMR Serverless application {self._settings.application_id} is {application['state']}",
                "Wait until it has stopped, or create it again with the template in deployments/emr.",
            )
        return application


def _state(run: dict[str, Any]) -> State:
    """The job's state. An unknown one counts as running, because the job may cost money."""
    return _STATES.get(run["state"], State.RUNNING)


def _number(text: str) -> float:
    """The number in `200 vCPU` or `800 GB`."""
    return float(text.split(maxsplit=1)[0])
