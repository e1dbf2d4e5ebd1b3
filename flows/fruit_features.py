"""The flow: one task per stage, each a call of the engine interface."""

from __future__ import annotations

import os
from typing import Any

from prefect import flow, tags
from prefect.client.schemas.objects import State
from prefect.exceptions import CancelledRun
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed

from engines import create_engine
from engines.base import (
    Engine,
    FeaturizeReport,
    FeaturizeRequest,
    FitReport,
    FitRequest,
    IndexReport,
    IndexRequest,
    ProjectReport,
    ProjectRequest,
)
from engines.core.contracts import check_featurized, check_projected, check_rejects
from engines.core.errors import FruitsError
from engines.core.networks.model import Model, publish_model
from engines.core.networks.prepare import prepare_model
from engines.core.output import KEY, publish
from engines.core.reduce.pca import check_enough_images
from engines.core.storage import open_storage
from engines.core.storage.lease import Lease, exclusive
from flows import parameters as form
from flows.credentials import RunLog, emr_overrides, job_log
from flows.options import RunSettings, cache_folder, check_settings
from flows.outcome import Clock, all_done_before, outcome, published_as, record_of
from flows.runtime.cancellation import stopped_when_cancelled
from flows.runtime.hooks import stop_jobs
from flows.runtime.logs import running
from flows.runtime.tasks import called, stage
from flows.views import page
from flows.views.report import REPORT, write_report


@stage("model")
def model_task(weights: str, runtime: str, output: str) -> Model:
    """Convert the network (or take it from the cache) and put it into the output."""
    model = prepare_model(weights, runtime, cache_folder())
    publish_model(model, output)
    return model


@stage("index")
def index_task(engine: Engine, request: IndexRequest) -> IndexReport:
    """List the images of the source."""
    return engine.index(request)


@stage("featurize")
def featurize_task(engine: Engine, request: FeaturizeRequest) -> FeaturizeReport:
    """Compute the features that are not there yet."""
    with page.progress_of(engine, "featurize"):
        return engine.featurize(request)


@stage("fit_pca")
def fit_pca_task(engine: Engine, request: FitRequest) -> FitReport:
    """Fit standardization and PCA."""
    with page.progress_of(engine, "fit_pca"):
        return engine.fit_pca(request)


@stage("project")
def project_task(engine: Engine, request: ProjectRequest) -> ProjectReport:
    """Project the features."""
    with page.progress_of(engine, "project"):
        return engine.project(request)


@stage("publish")
def publish_task(lease: Lease, output: str, record: dict[str, Any]) -> str:
    """Write the report, then replace run.json: from here on readers see the new results."""
    lease.check()
    write_report(output, record)
    publish(output, record)
    page.publish_summary(output, record, record["timings"])
    return open_storage(output).uri(KEY)


@stage("publish")
def leave_task(lease: Lease, output: str, published: dict[str, Any], timings: dict[str, float]) -> str:
    """Leave run.json as it is, with the timings of the run that did the work; make the report if it is gone."""
    lease.check()
    if not open_storage(output).exists(REPORT):
        write_report(output, published)
    page.publish_summary(output, published, timings, unchanged=True)
    return open_storage(output).uri(KEY)


def _run_name() -> str:
    parameters = flow_run.parameters
    return f"{parameters['source'].rstrip('/').rsplit('/', 1)[-1]} · {parameters['engine']}"


@flow(
    name="fruit-features",
    flow_run_name=_run_name,
    persist_result=False,
    on_cancellation=[stop_jobs],
    on_crashed=[stop_jobs],
)
def fruit_features(
    source: form.Source,
    output: form.Output,
    engine: form.EngineName = "dask",
    components: form.Components = 128,
    weights: form.Weights = "imagenet",
    runtime: form.Runtime = "litert",
    glob: form.Glob = "*.jpg",
    per_class: form.PerClass = None,
    images: form.Sample = None,
    shard_size: form.ShardSize = 512,
    workers: form.Workers = None,
    scheduler: form.Scheduler = None,
    max_rejects: form.MaxRejects = 0.01,
    emr: form.Emr = None,
) -> State[str]:
    """Turn the images of a folder or S3 prefix into features of few dimensions.

    A second run does only what is missing. One run at a time writes into an output; another one is refused.

    Args:
        source: Folder or URL of the images; the label of an image is the name of its parent folder.
        output: Folder or URL for the results; belongs to one source.
        engine: Where the stages run.
        components: Number of PCA components, or the share of the variance to explain, such as 0.95.
        weights: imagenet, random, or a file of Keras weights of MobileNetV2 without head.
        runtime: litert, or tensorflow as the reference.
        glob: Which file names are images; upper and lower case differ.
        per_class: At most so many images of each class.
        images: At most so many images in all.
        shard_size: Images per shard on average: the unit of work, retry and commit.
        workers: Worker processes of the local engine; all cores by default.
        scheduler: The cluster to use instead: a Dask scheduler (tcp://HOST:8786) or a Spark master (spark://HOST:PORT).
        max_rejects: Share of images that may be rejected before the run fails.
        emr: For the EMR engines, the name of an EMR settings block, or settings; FRUITS_EMR_* and the config file
            fill in the rest.

    Returns:
        The location of run.json, which names the results. (As the data of a state, whose message says what was done,
        or why not; called from Python, the flow returns the location, or raises the FruitsError.)
    """
    try:
        settings = check_settings(
            RunSettings(
                source=source,
                output=output,
                engine=engine,
                components=components,
                weights=weights,
                runtime=runtime,
                glob=glob,
                per_class=per_class,
                images=images,
                shard_size=shard_size,
                workers=workers,
                scheduler=scheduler,
                max_rejects=max_rejects,
                emr=emr_overrides(emr),
            )
        )
        stages = create_engine(
            settings.engine,
            workers=settings.workers,
            scheduler=settings.scheduler,
            emr=settings.emr,
            run=str(flow_run.id),
        )
        with (
            tags(settings.engine),
            job_log(settings.engine, RunLog(get_run_logger())),
            exclusive(settings.output, f"flow run {flow_run.name}") as lease,
            running(stages),
            stopped_when_cancelled(),
        ):
            return _run(stages, settings, lease)
    except FruitsError as error:
        get_run_logger().error("%s", error)
        # Returned, not raised: Prefect puts words of its own in front of what is raised.
        return Failed(message=str(error), data=error)
    except CancelledRun as stop:
        return Cancelled(message=str(stop))


def _run(engine: Engine, settings: RunSettings, lease: Lease) -> State[str]:
    source, output = settings.source, settings.output
    logger = get_run_logger()
    clock = Clock()
    indexed = called(index_task, f"index · {source}")(
        engine,
        IndexRequest(source, output, settings.glob, settings.per_class, settings.shard_size, settings.images),
    )
    clock.lap("index")
    images = f"{indexed.listed:,} images"
    logger.info("%s of %s classes in %s shards", images, f"{indexed.labels:,}", f"{indexed.shards:,}")
    if settings.components >= 1:
        check_enough_images(indexed.listed, settings.components)
    model = called(model_task, f"model · {os.path.basename(settings.weights)}")(
        settings.weights, settings.runtime, output
    )
    clock.lap("model")
    featurized = called(featurize_task, f"featurize · {images}")(
        engine, FeaturizeRequest(source, output, indexed.catalog, model.fingerprint)
    )
    clock.lap("featurize")
    rejected = sum(featurized.rejected.values())
    logger.info(
        "%s featurized, %s of them by a former run; %s rejected",
        f"{featurized.featurized:,}",
        f"{featurized.reused:,}",
        f"{rejected:,}",
    )
    check_featurized(featurized.listed, featurized.featurized, rejected)
    check_featurized(indexed.listed, featurized.featurized, rejected)
    check_rejects(featurized.listed, featurized.rejected, settings.max_rejects, output)
    check_enough_images(featurized.featurized, settings.components)
    fitted = called(fit_pca_task, f"fit PCA · {featurized.featurized:,} images")(
        engine, FitRequest(output, indexed.catalog, model.fingerprint, settings.components)
    )
    clock.lap("fit_pca")
    projected = called(project_task, f"project · {featurized.featurized:,} images")(
        engine, ProjectRequest(output, indexed.catalog, model.fingerprint, fitted.pca)
    )
    clock.lap("project")
    check_projected(featurized.featurized, projected.projected)
    record = record_of(engine, settings, model, clock.timings, indexed, featurized, fitted, projected)
    published = published_as(output, record) if all_done_before(featurized, fitted, projected) else None
    if published is None:
        location = called(publish_task, f"publish · {output}")(lease, output, record)
    else:
        location = called(leave_task, f"leave as it is · {output}")(lease, output, published, clock.timings)
    return Completed(message=outcome(featurized, fitted, projected, unchanged=published is not None), data=location)
