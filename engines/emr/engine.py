"""The engines that run each stage on EMR: submit a job, watch it, read its report from the output."""

from __future__ import annotations

import json
import time
import uuid
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import asdict
from typing import ClassVar, TypeVar

from engines.base import (
    CHAIN,
    Engine,
    FeaturizeReport,
    FeaturizeRequest,
    FitReport,
    FitRequest,
    IndexReport,
    IndexRequest,
    NeighboursReport,
    NeighboursRequest,
    ProjectReport,
    ProjectRequest,
)
from engines.core.errors import FruitsError, InputError
from engines.core.index.catalog import read_catalog
from engines.core.output import FEATURES, check_folder, features_key
from engines.core.quality.plan import make_plan
from engines.core.storage import open_storage
from engines.emr.archive import Artifacts, facts_of
from engines.emr.calls import LOGGER, Aws
from engines.emr.cluster import ClusterRunner
from engines.emr.cost import check_max_cost, cost_record, estimate_stages, load_prices
from engines.emr.preflight import preflight
from engines.emr.protocol import Billed, JobName, JobRequest, JobRunner, output_tag
from engines.emr.serverless import ServerlessRunner
from engines.emr.settings import EmrSettings, load_settings
from engines.emr.sizing import size_for
from engines.emr.watch import read_report, watch

Request = IndexRequest | FeaturizeRequest | FitRequest | ProjectRequest | NeighboursRequest
Report = TypeVar("Report", IndexReport, FeaturizeReport, FitReport, ProjectReport, NeighboursReport)


def _after(stage: str) -> list[str]:
    """What follows a stage of a run, as far as the number of images is known when it starts."""
    return [] if stage == "index" or stage not in CHAIN else list(CHAIN[CHAIN.index(stage) + 1 :])


class EmrEngine(Engine):
    """Runs one job per stage, by a JobRunner.

    `run` identifies the run that jobs belong to: started again, a run attaches to its job that is still running. The
    caller holds the output's lease, so any other run's job on that output is an orphan, and is cancelled. When a stage
    returns or raises, its job has ended or was cancelled.
    """

    def __init__(
        self,
        settings: EmrSettings | None = None,
        run: str | None = None,
        workers: int | None = None,
        scheduler: str | None = None,
    ) -> None:
        super().__init__()
        if workers is not None or scheduler is not None:
            raise InputError(
                f"{self.name} has neither workers nor a scheduler of yours",
                "Set executors, executor_cores and the like in the [emr] table, or by --emr executors=4.",
            )
        self.settings = settings or load_settings()
        self.run = run or uuid.uuid4().hex[:12]
        self._aws = Aws(self.settings)
        self._artifacts = Artifacts(self.settings, self._aws)
        self.runner = self._make_runner()
        self._checked = False
        self._job: str | None = None
        self._started = Billed()
        """The estimate for the jobs that this process started."""
        self._facts: dict[str, str | float] = {}

    @abstractmethod
    def _make_runner(self) -> JobRunner:
        """The runner of this engine."""

    def index(self, request: IndexRequest) -> IndexReport:
        """See Engine."""
        self._check(request.source, request.output)
        return self._run_stage("index", request, IndexReport, 0, 0)

    def featurize(self, request: FeaturizeRequest) -> FeaturizeReport:
        """See Engine."""
        self._check(request.source, request.output)
        shards = read_catalog(request.output, request.catalog).shards
        present = {item.key for item in open_storage(request.output).list(FEATURES)}
        missing = [shard for shard in shards if features_key(request.fingerprint, shard.id) not in present]
        images = sum(shard.count for shard in missing)
        return self._run_stage("featurize", request, FeaturizeReport, images, len(missing))

    def fit_pca(self, request: FitRequest) -> FitReport:
        """See Engine."""
        shards = read_catalog(request.output, request.catalog).shards
        return self._run_stage("fit_pca", request, FitReport, sum(shard.count for shard in shards), len(shards))

    def project(self, request: ProjectRequest) -> ProjectReport:
        """See Engine."""
        shards = read_catalog(request.output, request.catalog).shards
        return self._run_stage("project", request, ProjectReport, sum(shard.count for shard in shards), len(shards))

    def neighbours(self, request: NeighboursRequest) -> NeighboursReport:
        """See Engine."""
        plan = make_plan(request.output, request.split_depth)
        self._check(plan.record.source, request.output)
        present = {item.key for item in open_storage(request.output).list(check_folder(plan.version))}
        missing = [band for band in plan.bands if band.key not in present]
        questions = sum(band.rows for band in missing)
        return self._run_stage("neighbours", request, NeighboursReport, questions, len(missing))

    def describe(self) -> Mapping[str, str | float]:
        """See Engine: where the jobs ran, with which archive, and what AWS billed."""
        try:
            billed = cost_record(self.settings, self.name, self._billed_when_known())
        except FruitsError as error:
            # The results are complete; their cost can be looked up later.
            billed = {"billed": f"could not be read ({error.message}): see `fruits emr cost {self.run}`"}
        return {"run": self.run, "region": self.settings.region, **self.runner.describe(), **self._facts, **billed}

    def close(self) -> None:
        """See Engine: cancels a job that is still running, and stops what the runner created."""
        try:
            self._cancel()
        finally:
            self.runner.close()

    def _check(self, source: str, output: str) -> None:
        """Once per engine: run the preflight, then cancel the jobs of other runs on this output."""
        if self._checked:
            return
        for line in preflight(self.settings, self._aws, self._artifacts, self.runner, source, output):
            LOGGER.info("%s", line)
        self._facts.update(facts_of(self._artifacts.current()))
        others = [
            job for job in self.runner.find() if job.name.output == output_tag(output) and job.name.run != self.run
        ]
        for job in others:
            if job.state.active:
                LOGGER.warning("cancelling the job %s, left behind by the run %s", job.id, job.name.run)
                self.runner.cancel(job.id)
        for run in dict.fromkeys(job.name.run for job in others):
            self.runner.stop_leftovers(run)
        self._checked = True

    def _run_stage(self, stage: str, request: Request, report: type[Report], images: int, shards: int) -> Report:
        former = [
            job
            for job in self.runner.find()
            if (job.name.run, job.name.stage, job.name.output) == (self.run, stage, output_tag(request.output))
        ]
        running = [job for job in former if not job.state.ended]
        if running and running[-1].state.active:
            LOGGER.info("%s: attaching to the job %s, which is running already", stage, running[-1].id)
            name, self._job = running[-1].name, running[-1].id
            self.runner.adopt(self._job)
        else:
            attempt = max((job.name.attempt for job in former), default=-1) + 1
            name = JobName(self.run, stage, attempt, output_tag(request.output))
            self._check_cost(stage, images, shards)
            size = size_for(self.settings, stage, images, shards)
            LOGGER.info("%s: %d executors of %d vCPU", stage, size.executors, size.executor_cores)
            argument = {
                "stage": stage,
                "request": asdict(request),
                "report_key": name.report_key,
                "progress_key": name.progress_key,
                "region": self.settings.region,
            }
            self._job = self._submit(JobRequest(name, [json.dumps(argument)], size))
            LOGGER.info(
                "%s: job %s submitted; `fruits emr status %s` links to its Spark UI", stage, self._job, self.run
            )
        try:
            status = watch(self.runner, self.settings, self._job, name, request.output, self.on_progress)
            self._job = None
        finally:
            self._cancel()
        self._facts[f"{stage}_job"] = status.id
        result = read_report(self.runner, status, name, request.output)
        self._facts.update(result.get("facts", {}))
        return report(**result["report"])

    def _submit(self, job: JobRequest) -> str:
        """Submit the job. If that fails but AWS has accepted the job nevertheless, cancel it."""
        try:
            return self.runner.submit(job)
        except BaseException as error:
            try:
                for found in self.runner.find():
                    if found.name == job.name and found.state.active:
                        self.runner.cancel(found.id)
            except FruitsError as second:
                error.add_note(f"it is not known whether AWS accepted the job: {second}")
            raise

    def _check_cost(self, stage: str, images: int, shards: int) -> None:
        estimate = estimate_stages(self.settings, self.name, [stage, *_after(stage)], images, shards)
        what = f"{stage} of {images:,} images, and what follows" if _after(stage) else stage
        LOGGER.info("estimate for %s: %s", what, estimate)
        if self.settings.max_cost is not None:
            billed = self.runner.billed(self.run)
            # Until AWS reports the bill, the estimate counts.
            known = self._started if billed is None else billed
            spent = load_prices(self.settings, self.name).cost(known, self.settings.instance_type)
            check_max_cost(self.settings, estimate, spent)
            self._started += estimate_stages(self.settings, self.name, [stage], images, shards).billed

    def _cancel(self) -> None:
        """Cancel the submitted job unless it is known to have ended. If that fails, `close` tries again."""
        if self._job is not None:
            LOGGER.warning("cancelling the job %s", self._job)
            self.runner.cancel(self._job)
            self._job = None

    def _billed_when_known(self) -> Billed | None:
        """What AWS bills. AWS reports it some time after a job's end, so this waits up to `log_wait_seconds`."""
        deadline = time.monotonic() + self.settings.log_wait_seconds
        while True:
            billed = self.runner.billed(self.run)
            if billed is not None or time.monotonic() + self.settings.poll_seconds > deadline:
                return billed
            time.sleep(self.settings.poll_seconds)


class EmrServerlessEngine(EmrEngine):
    """EMR Serverless: jobs on an application that exists already."""

    name: ClassVar[str] = "emr-serverless"

    def _make_runner(self) -> JobRunner:
        return ServerlessRunner(self.settings, self._aws, self._artifacts)


class EmrClusterEngine(EmrEngine):
    """EMR on EC2: steps on a cluster created for the run and terminated at its end, or on a given one."""

    name: ClassVar[str] = "emr-cluster"

    def _make_runner(self) -> JobRunner:
        return ClusterRunner(self.settings, self._aws, self._artifacts)
