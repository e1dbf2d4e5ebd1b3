"""EMR Serverless on the stand-in: applications and job runs."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tests.aws import spark_jobs
from tests.aws.spark_jobs import Work

if TYPE_CHECKING:
    from tests.aws.stand_in import StandIn

ENDED = ("SUCCESS", "FAILED", "CANCELLED")


@dataclass
class Run:
    """One job run."""

    id: str
    request: dict[str, Any]
    created: datetime
    state: str = "SUBMITTED"
    detail: str = ""
    work: Work | None = None
    started: datetime | None = None
    ended: datetime | None = None
    began: float = field(default_factory=time.monotonic)
    seconds: float = 0.0


class ServerlessJobs:
    """Application `00emr` and its job runs. `work(arguments)` makes what a job does; None runs it with spark-submit."""

    def __init__(self, stand_in: StandIn) -> None:
        self.stand_in = stand_in
        self.work: Callable[[list[str]], Any] | None = None
        self.report_billing = True
        self.detail = "Job failed, please check complete logs in configured logging destination. ExitCode: {code}."
        """What AWS says of a job that failed."""
        self.flex_releases = r".*"
        """The release labels that have Flex."""
        self.application: dict[str, Any] = {
            "applicationId": "00emr",
            "name": "fruit-features",
            "arn": "arn:aws:emr-serverless:us-east-1:123456789012:/applications/00emr",
            "releaseLabel": "emr-7.13.0",
            "type": "Spark",
            "state": "CREATED",
            "architecture": "X86_64",
            "maximumCapacity": {"cpu": "200 vCPU", "memory": "800 GB"},
            "createdAt": datetime.now(UTC),
            "updatedAt": datetime.now(UTC),
        }
        self.runs: dict[str, Run] = {}
        self._tokens: dict[str, str] = {}

    def running(self) -> list[str]:
        return [run.id for run in self.runs.values() if self._update(run).state not in ENDED]

    def kill(self) -> None:
        for run in self.runs.values():
            if run.work is not None:
                run.work.cancel()

    # Operations, by their names in the model.

    def get_application(self, applicationId: str) -> dict[str, Any]:
        self._check_application(applicationId)
        return {"application": self.application}

    def stop_application(self, applicationId: str) -> dict[str, Any]:
        self._check_application(applicationId)
        if self.running():
            raise _error(400, "ValidationException", "All jobs must be completed or cancelled before stopping")
        self.application["state"] = "STOPPED"
        return {}

    def start_job_run(self, **request: Any) -> dict[str, Any]:
        self._check_application(request["applicationId"])
        flex = request.get("flexExecution", {}).get("enabled")
        if flex and not re.fullmatch(self.flex_releases, self.application["releaseLabel"]):
            raise _error(400, "ValidationException", f"Flex is not supported for {self.application['releaseLabel']}")
        token = request["clientToken"]
        if token in self._tokens:
            run = self.runs[self._tokens[token]]
            if run.request != request:
                raise _error(409, "ConflictException", "the client token was used with other parameters")
        else:
            run = Run(f"{len(self.runs):016x}", request, datetime.now(UTC))
            self.runs[run.id] = run
            self._tokens[token] = run.id
            self.application["state"] = "STARTED"
        return {"applicationId": "00emr", "jobRunId": run.id, "arn": self._arn(run)}

    def get_job_run(self, applicationId: str, jobRunId: str) -> dict[str, Any]:
        run = self._update(self._find(applicationId, jobRunId))
        facts = {**self._summary(run), "jobRunId": run.id, "jobDriver": run.request["jobDriver"]}
        for name in ("id", "type"):
            del facts[name]
        facts["tags"] = run.request.get("tags", {})
        facts |= {"startedAt": run.started} if run.started else {}
        facts |= {"endedAt": run.ended} if run.ended else {}
        if "flexExecution" in run.request:
            facts["flexExecution"] = run.request["flexExecution"]
        if run.state in ENDED and self.report_billing and run.work is not None:
            facts["billedResourceUtilization"] = self._billed(run)
            facts["totalExecutionDurationSeconds"] = int(run.seconds)
        return {"jobRun": facts}

    def list_job_runs(self, applicationId: str, maxResults: int = 50, nextToken: str = "0", **_: Any) -> dict[str, Any]:
        self._check_application(applicationId)
        newest_first = list(reversed(self.runs.values()))
        if self.stand_in.faults.unlisted > 0:
            self.stand_in.faults.unlisted -= 1
            newest_first = []
        start = int(nextToken)
        page = [self._summary(self._update(run)) for run in newest_first[start : start + maxResults]]
        more = start + maxResults < len(newest_first)
        return {"jobRuns": page, **({"nextToken": str(start + maxResults)} if more else {})}

    def update_application(self, applicationId: str, clientToken: str, **changes: Any) -> dict[str, Any]:
        self._check_application(applicationId)
        assert clientToken
        if self.application["state"] not in ("CREATED", "STOPPED"):
            raise _error(400, "ValidationException", f"Application is {self.application['state']}")
        self.application |= changes
        return {"application": self.application}

    def cancel_job_run(self, applicationId: str, jobRunId: str) -> dict[str, Any]:
        run = self._update(self._find(applicationId, jobRunId))
        if run.state in ENDED:
            raise _error(400, "ValidationException", f"the job run is {run.state}")
        self._cancel(run, "cancelled by the user")
        return {"applicationId": applicationId, "jobRunId": jobRunId}

    def get_dashboard_for_job_run(self, applicationId: str, jobRunId: str) -> dict[str, Any]:
        self._find(applicationId, jobRunId)
        return {"url": f"https://p-{jobRunId}.emrappui-prod.us-east-1.amazonaws.com/shs/?authToken=dashboard-secret"}

    # What happens with time.

    def _update(self, run: Run) -> Run:
        with self.stand_in.lock:
            if run.state in ENDED:
                return run
            if run.work is None and run.state != "CANCELLING":
                self._advance(run)
            elif run.work is not None and run.work.ended.is_set():
                self._end(run)
            elif run.work is not None and self._age(run.work.began) > run.request["executionTimeoutMinutes"]:
                self._cancel(run, "the job run exceeded its execution timeout")
            return run

    def _advance(self, run: Run) -> None:
        following = {"SUBMITTED": "PENDING", "PENDING": "SCHEDULED", "SCHEDULED": "RUNNING"}
        if run.state == "PENDING" and self.stand_in.faults.pending:
            run.detail = self.stand_in.faults.pending_detail
            return
        if run.state == "SCHEDULED" and time.monotonic() - run.began < self.stand_in.startup.job:
            return
        run.state = following[run.state]
        if run.state == "RUNNING" and _cores(run) > self.stand_in.quotas.vcpus:
            run.state = "FAILED"
            run.detail = (
                "ServiceQuotaExceededException: the account has reached the service limit on the maximum vCPU "
                "it can use concurrently"
            )
        if run.state == "RUNNING":
            run.started = datetime.now(UTC)
            run.work = Work(spark_jobs.after(self.stand_in.startup.executor, self._make(run)))

    def _make(self, run: Run) -> Any:
        driver = run.request["jobDriver"]["sparkSubmit"]
        if self.work is not None:
            return self.work(driver["entryPointArguments"])
        folder = self.stand_in.scratch / f"serverless-{run.id}"

        def start(work: Work) -> tuple[int, bytes, bytes]:
            folder.mkdir()
            release = self.application["releaseLabel"]
            environment = spark_jobs.minimal_environment(folder, self.stand_in.endpoint_s3, "us-east-1", release)
            command = spark_jobs.serverless_command(driver, folder, environment)
            return spark_jobs.submit(command, environment, folder)(work)

        return start

    def _cancel(self, run: Run, detail: str) -> None:
        run.state, run.detail = "CANCELLING", detail
        if run.work is None:
            run.state = "CANCELLED"
        else:
            run.work.cancel()

    def _end(self, run: Run) -> None:
        assert run.work is not None
        assert run.work.outcome is not None
        code, out, err = run.work.outcome
        run.seconds = time.monotonic() - run.work.began
        run.ended = datetime.now(UTC)
        if run.state == "CANCELLING":
            run.state = "CANCELLED"
        else:
            run.state = "SUCCESS" if code == 0 else "FAILED"
            run.detail = "" if code == 0 else self.detail.format(code=code)
        monitoring = run.request["configurationOverrides"]["monitoringConfiguration"]["s3MonitoringConfiguration"]
        folder = f"{monitoring['logUri'].rstrip('/')}/applications/00emr/jobs/{run.id}/SPARK_DRIVER"
        spark_jobs.upload_log(f"{folder}/stdout.gz", out)
        spark_jobs.upload_log(f"{folder}/stderr.gz", err)

    def _billed(self, run: Run) -> dict[str, float]:
        conf = _conf(run)
        executors = int(conf["spark.executor.instances"])
        hours = max(60.0, run.seconds) / 3600  # a minute at least
        memory = _gigabytes(conf, "driver") + executors * _gigabytes(conf, "executor")
        return {
            "vCPUHour": round(_cores(run) * hours, 3),
            "memoryGBHour": round(memory * hours, 3),
            "storageGBHour": 0.0,
        }

    def _summary(self, run: Run) -> dict[str, Any]:
        return {
            "applicationId": "00emr",
            "id": run.id,
            "arn": self._arn(run),
            "name": run.request.get("name", ""),
            "createdBy": "arn:aws:iam::123456789012:user/tests",
            "createdAt": run.created,
            "updatedAt": datetime.now(UTC),
            "executionRole": run.request["executionRoleArn"],
            "state": run.state,
            "stateDetails": run.detail or run.state,
            "releaseLabel": self.application["releaseLabel"],
            "type": "Spark",
        }

    def _age(self, began: float) -> float:
        return (time.monotonic() - began) / self.stand_in.minute

    def _arn(self, run: Run) -> str:
        return f"{self.application['arn']}/jobruns/{run.id}"

    def _find(self, application: str, job: str) -> Run:
        self._check_application(application)
        if job not in self.runs:
            raise _error(404, "ResourceNotFoundException", f"job run {job} does not exist")
        return self.runs[job]

    def _check_application(self, application: str) -> None:
        if application != "00emr":
            raise _error(404, "ResourceNotFoundException", f"Application {application} does not exist")


def _conf(run: Run) -> dict[str, str]:
    words = run.request["jobDriver"]["sparkSubmit"]["sparkSubmitParameters"].split()
    return dict(word.split("=", 1) for word in words if "=" in word)


def _cores(run: Run) -> int:
    """vCPUs of the driver and the executors."""
    conf = _conf(run)
    return int(conf["spark.driver.cores"]) + int(conf["spark.executor.instances"]) * int(conf["spark.executor.cores"])


def _gigabytes(conf: dict[str, str], role: str) -> int:
    return int(conf[f"spark.{role}.memory"].rstrip("g")) + int(conf[f"spark.{role}.memoryOverhead"].rstrip("g"))


def _error(status: int, code: str, message: str) -> Exception:
    from tests.aws.stand_in import AwsError

    return AwsError(status, code, message)
