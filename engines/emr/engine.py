"""The engines that have the stages run on EMR: one job for a run, its stages ordered through the output."""

from __future__ import annotations

import contextlib
import time
import uuid
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import ClassVar, TypeVar

from engines.base import (
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
from engines.core.index.catalog import Shard, read_catalog
from engines.core.layout import FEATURES, check_folder, features_key
from engines.core.quality.plan import make_plan
from engines.core.storage import open_storage
from engines.emr.archive import Artifacts, facts_of
from engines.emr.calls import LOGGER, Aws
from engines.emr.cluster import ClusterRunner
from engines.emr.cost import check_max_cost, check_used, closing_line, cost_record, estimate_job, load_prices
from engines.emr.done_here import DoneHere, WorkersNeededError
from engines.emr.preflight import preflight
from engines.emr.protocol import Billed, JobRunner, output_tag
from engines.emr.run_job import RunJob
from engines.emr.serverless import ServerlessRunner
from engines.emr.settings import EmrSettings, load_settings
from engines.emr.sizing import Size, Work, size_for_job
from engines.patience import Patience

Request = FeaturizeRequest | FitRequest | ProjectRequest | NeighboursRequest
Report = TypeVar("Report", FeaturizeReport, FitReport, ProjectReport, NeighboursReport)


class EmrEngine(Engine):
    """Lists in this process, and orders the other stages from one job, by a JobRunner.

    The job is started by the first stage that has work for workers, and takes the stages after it too. `run` identifies
    the run that it belongs to: started again, a run attaches to its job that is still running. The caller holds the
    output's lease, so any other run's job on that output is an orphan, and is cancelled. Once the engine is left, its
    job has ended or was cancelled.
    """

    def __init__(
        self,
        settings: EmrSettings | None = None,
        run: str | None = None,
        workers: int | None = None,
        scheduler: str | None = None,
        patience: Patience | None = None,
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
        self.job = RunJob(self.settings, self.runner, self.run, patience or Patience(), self._check_cost)
        self._checked = False
        self._started = Billed()
        """The estimate for the jobs that this process started."""
        self._facts: dict[str, str | float] = {}

    @abstractmethod
    def _make_runner(self) -> JobRunner:
        """The runner of this engine."""

    def index(self, request: IndexRequest) -> IndexReport:
        """See Engine. Listing is one stream of small answers; a job for it would take longer to start."""
        self._check(request.source, request.output)
        return self._here().index(request)

    def featurize(self, request: FeaturizeRequest) -> FeaturizeReport:
        """See Engine."""
        self._check(request.source, request.output)
        shards = read_catalog(request.output, request.catalog).shards
        present = {item.key for item in open_storage(request.output).list(FEATURES)}
        missing = [
            shard
            for shard in shards
            if features_key(request.fingerprint, shard.id) not in present or shard.id in request.redo
        ]
        if not missing:
            with contextlib.suppress(WorkersNeededError):  # for a shard whose file is damaged, which only reading shows
                return self._here().featurize(request)
        work = {"featurize": _work(missing or shards[:1])} | dict.fromkeys(("fit_pca", "project"), _work(shards))
        return self._ordered("featurize", request, FeaturizeReport, work)

    def fit_pca(self, request: FitRequest) -> FitReport:
        """See Engine."""
        try:
            return self._here().fit_pca(request)
        except WorkersNeededError:
            shards = read_catalog(request.output, request.catalog).shards
            work = dict.fromkeys(("fit_pca", "project"), _work(shards))
            return self._ordered("fit_pca", request, FitReport, work)

    def project(self, request: ProjectRequest) -> ProjectReport:
        """See Engine."""
        try:
            return self._here().project(request)
        except WorkersNeededError:
            shards = read_catalog(request.output, request.catalog).shards
            return self._ordered("project", request, ProjectReport, {"project": _work(shards)})

    def neighbours(self, request: NeighboursRequest) -> NeighboursReport:
        """See Engine."""
        plan = make_plan(request.output, request.split_depth)
        self._check(plan.record.source, request.output)
        try:
            return self._here().neighbours(request)
        except WorkersNeededError:
            present = {item.key for item in open_storage(request.output).list(check_folder(plan.version))}
            missing = [band for band in plan.bands if band.key not in present]
            work = {"neighbours": Work(sum(band.rows for band in missing), max(1, len(missing)))}
            return self._ordered("neighbours", request, NeighboursReport, work)

    def describe(self) -> Mapping[str, str | float]:
        """See Engine: where the job ran, with which archive, and what AWS billed. Ends the job: AWS bills it then."""
        try:
            self.job.end()
            billed = cost_record(self.settings, self.name, self._billed_when_known())
        except FruitsError as error:
            # The results are complete; their cost can be looked up later.
            billed = {"billed": f"could not be read ({error.message}): see `fruits emr cost {self.run}`"}
        jobs = {"job": ", ".join(self.job.ids)} if self.job.ids else {}
        money = {**self._estimated(), **billed}
        if line := closing_line(money):
            LOGGER.info("%s", line)
        return {
            "run": self.run,
            "region": self.settings.region,
            **self.runner.describe(),
            **jobs,
            **self._facts,
        } | money

    def close(self) -> None:
        """See Engine: ends the job, or cancels it if it works, and stops what the runner created."""
        try:
            self.job.end()
        finally:
            self.runner.close()

    def _here(self) -> DoneHere:
        here = DoneHere()
        here.on_progress = self.on_progress
        return here

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

    def _ordered(self, stage: str, request: Request, report: type[Report], work: Mapping[str, Work]) -> Report:
        """Have the job do `stage`. A job that is started for it is made for all of `work`: also what follows."""
        answer = self.job.order(stage, asdict(request), lambda: self._size(work), self.on_progress)
        self._facts.update(answer["facts"])
        return report(**answer["report"])

    def _size(self, work: Mapping[str, Work]) -> Size:
        """The size of a job for all of `work`. Raises InputError if its estimate is more than may be spent."""
        estimate = estimate_job(self.settings, self.name, work)
        first, *others = work
        images = f"{work[first].images:,} images"
        LOGGER.info("estimate for %s: %s", f"{first} of {images}, and what follows" if others else first, estimate)
        if self.settings.max_cost is not None:
            check_max_cost(self.settings, estimate, self._cost_by(datetime.now(UTC)))
        self._started += estimate.billed
        size = size_for_job(self.settings, work)
        LOGGER.info("%d executors of %d vCPU", size.executors, size.executor_cores)
        return size

    def _check_cost(self) -> None:
        """Raise StageError if the run, all its jobs together, would go above `max_cost` before the next look."""
        if self.settings.max_cost is None:
            return
        next_look = datetime.now(UTC) + timedelta(seconds=self.settings.max_poll_seconds)
        check_used(self.settings, self._cost_by(next_look))

    def _cost_by(self, until: datetime) -> float | None:
        """What the run will have cost by then, in US dollars, at most; None without a price."""
        used = self.runner.used(self.run, until)
        return load_prices(self.settings, self.name).cost(used, self.settings.instance_type)

    def _estimated(self) -> dict[str, float]:
        """The estimate for the jobs that this process started, in US dollars; nothing without jobs or prices."""
        cost = load_prices(self.settings, self.name).cost(self._started, self.settings.instance_type)
        return {"estimated_usd": round(cost, 4)} if cost else {}

    def _billed_when_known(self) -> Billed | None:
        """What AWS bills. AWS reports it some time after a job's end, so this waits up to `log_wait_seconds`."""
        deadline = time.monotonic() + self.settings.log_wait_seconds
        while True:
            billed = self.runner.billed(self.run)
            if billed is not None or time.monotonic() + self.settings.poll_seconds > deadline:
                return billed
            time.sleep(self.settings.poll_seconds)


def _work(shards: list[Shard]) -> Work:
    return Work(sum(shard.count for shard in shards), len(shards))


class EmrServerlessEngine(EmrEngine):
    """EMR Serverless: a job on an application that exists already."""

    name: ClassVar[str] = "emr-serverless"

    def _make_runner(self) -> JobRunner:
        return ServerlessRunner(self.settings, self._aws, self._artifacts)


class EmrClusterEngine(EmrEngine):
    """EMR on EC2: a step on a cluster created for the run and terminated at its end, or on a given one."""

    name: ClassVar[str] = "emr-cluster"

    def _make_runner(self) -> JobRunner:
        return ClusterRunner(self.settings, self._aws, self._artifacts)
