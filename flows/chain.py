"""The chain: the order of the stages and the contracts between them, with or without Prefect.

`run` asks for each stage through a `call`. A flow gives it tasks of Prefect; `plain_call` calls the stage, with the
same retries. `run_chain` is the whole chain as one call from Python; nothing here imports Prefect.
"""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from engines import create_engine
from engines.base import Engine, FeaturizeRequest, FitRequest, IndexRequest, Progress, ProjectRequest
from engines.core.contracts import check_featurized, check_projected, check_read_as_listed, check_rejects
from engines.core.errors import ChangedError, ContractError, DamagedError, StorageError, TransientError
from engines.core.frozen import Frozen, adopt, find_frozen
from engines.core.index.catalog import read_catalog, split_named
from engines.core.index.rejected import examples_by_reason, first_rejects
from engines.core.layout import RECORD, REPORT
from engines.core.networks.model import Model, publish_model
from engines.core.networks.prepare import prepare_model
from engines.core.output import RunRecord, publish
from engines.core.reduce.pca import check_enough_images
from engines.core.storage import open_storage
from engines.core.storage.lease import Lease, exclusive
from engines.patience import Patience
from flows.checks import cache_folder, check_settings, complete
from flows.credentials import use_credentials
from flows.engine_log import LOGGER, running
from flows.options.run import RunSettings
from flows.outcome import Mended, all_done_before, outcome, published_as, record_of

T = TypeVar("T")

MOST_REPAIRS = 3
"""How often a run starts its stages again because one of them met a damaged file, or photos that are not those listed.
Each finds all there is to find; more than one round means that files are damaged, or replaced, while it works."""

_REJECTS_LOOKED_AT = 10_000
_REJECTS_SHOWN = 3
"""Paths of each reason, in the message of a run that fails for its rejects."""

RETRY_SECONDS = (5, 30)
"""Pauses before a stage that failed of something that may heal is tried again; what was done by then is kept."""


class Call(Protocol):
    """Calls a stage: `name` is the stage's, `label` says to a person what it works on."""

    def __call__(self, name: str, label: str, function: Callable[..., T], *arguments: Any) -> T:
        """What `function(*arguments)` returns, tried again after RETRY_SECONDS when it raises TransientError."""
        ...


class Show(Protocol):
    """Shows a person what is published; called within the last stage."""

    def __call__(self, output: str, record: RunRecord, timings: dict[str, float], *, unchanged: bool) -> None:
        """`timings` are this run's; `unchanged`: a former run published `record`, this one had nothing to do."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run has done: the published record, its location, and one sentence. `unchanged`: nothing was to do."""

    record: RunRecord
    location: str
    message: str
    unchanged: bool


def run_chain(
    source: str, output: str, *, on_progress: Callable[[Progress], None] | None = None, **options: Any
) -> RunRecord:
    """Turn the images of `source` into features of few dimensions in `output`, and return the published record.

    `options` are the other fields of `flows.options.run.RunSettings`, such as `engine="spark"` or `components=0.95`;
    `on_progress` is called as work finishes. Prints nothing; warnings go to the logger `fruits`. A second call does
    only what is missing. Raises FruitsError: InputError for what cannot be done, others for what went wrong.
    """
    settings = complete(RunSettings(source=source, output=output, **options))
    use_credentials(settings)
    return run(check_settings(settings), on_progress=on_progress or _ignore).record


def plain_call(name: str, label: str, function: Callable[..., T], *arguments: Any) -> T:  # noqa: ARG001 - see Call
    """See Call: calls the stage in this process, and says on the log when it is tried again."""
    for pause in RETRY_SECONDS:
        try:
            return function(*arguments)
        except TransientError as error:
            LOGGER.warning("%s: %s; trying again in %d s", label, error.message, pause)
            time.sleep(pause)
    return function(*arguments)


def run(
    settings: RunSettings,
    *,
    call: Call = plain_call,
    run_id: str | None = None,
    holder: str = "",
    on_progress: Callable[[Progress], None],
    show: Show | None = None,
    guard: contextlib.AbstractContextManager[None] | None = None,
) -> Outcome:
    """Run the chain with checked settings, alone in its output.

    `run_id`: what jobs elsewhere belong to, and are found again by. `holder`: how a person calls this run. `guard`
    surrounds the stages; the engine is closed, and the output let go, behind it.
    """
    engine = create_engine(
        settings.engine,
        workers=settings.workers,
        scheduler=settings.scheduler,
        patience=Patience(settings.tries, settings.worker_seconds),
        settings=settings.engine_settings,
        run=run_id or uuid.uuid4().hex[:12],
    )
    engine.on_progress = on_progress
    holder = holder or f"fruits, process {os.getpid()}"
    with exclusive(settings.output, holder) as lease, running(engine), guard or contextlib.nullcontext():
        try:
            return _run_stages(engine, settings, lease, call, show or _show_nothing)
        except (StorageError, ContractError):
            lease.check()  # an output that is gone is the cause, whatever was missed in it
            raise


def _run_stages(engine: Engine, settings: RunSettings, lease: Lease, call: Call, show: Show) -> Outcome:
    """The stages; from the first one again when one of them met a damaged file, which then is made again, or photos
    that are not those that were listed, which then are listed again: only their shards are computed.
    """
    storage = open_storage(settings.output)
    storage.remove_unfinished()
    if not storage.exists(RECORD):
        engine.expect_work()  # while the source is listed, and the model is read
    mended = Mended()
    for _ in range(MOST_REPAIRS):
        try:
            return _attempt(engine, settings, lease, call, show, mended, last=False)
        except ChangedError as error:
            LOGGER.warning("%s; the source is listed again", error.message)
        except DamagedError as error:
            lease.check()  # files that are gone with the whole output are nothing to mend
            mended.again(error)
    return _attempt(engine, settings, lease, call, show, mended, last=True)


def _attempt(
    engine: Engine, settings: RunSettings, lease: Lease, call: Call, show: Show, mended: Mended, *, last: bool
) -> Outcome:
    source, output = settings.source, settings.output
    clock = mended.clock
    indexed = call(
        "index",
        f"index {source}",
        engine.index,
        IndexRequest(
            source,
            output,
            replace(settings.selection, shard_size=settings.shard_size),
            settings.labelling,
            settings.source_moved,
        ),
    )
    clock.lap("index")
    images = f"{indexed.listed:,} images"
    LOGGER.info("%s of %s classes in %s shards", images, f"{indexed.labels:,}", f"{indexed.shards:,}")
    for remark in indexed.remarks:
        LOGGER.warning("%s", remark)
    if settings.components >= 1 and settings.frozen_pca is None:
        fitted_to = indexed.listed if settings.fit_split is None else split_named(settings.fit_split, indexed.splits)
        check_enough_images(fitted_to, settings.components)
    model = call("model", f"model {os.path.basename(settings.weights)}", put_model, settings, engine.on_progress)
    clock.lap("model")
    frozen = None
    if settings.frozen_pca is not None:
        frozen = call("frozen_pca", f"PCA of {settings.frozen_pca}", put_frozen_pca, settings, model)
    featurized = call(
        "featurize",
        f"featurize {images}",
        engine.featurize,
        FeaturizeRequest(
            source,
            output,
            indexed.catalog,
            model.fingerprint,
            settings.arithmetic,
            settings.photo_seconds,
            settings.photo_memory * 1_000_000,
            settings.quarantine,
            settings.verify_content and not mended.verified,
            list(mended.shards),
            source_moved=settings.source_moved,
        ),
    )
    clock.lap("featurize")
    featurized = mended.featurized(featurized)
    if not last:
        check_read_as_listed(featurized.rejected)
    rejected = sum(featurized.rejected.values())
    LOGGER.info(
        "%s featurized, %s of them by a former run; %s rejected",
        f"{featurized.featurized:,}",
        f"{featurized.reused:,}",
        f"{rejected:,}",
    )
    check_featurized(featurized.listed, featurized.featurized, rejected)
    check_featurized(indexed.listed, featurized.featurized, rejected)
    check_rejects(
        featurized.listed,
        featurized.rejected,
        settings.max_rejects,
        output,
        lambda: _examples_of_rejects(output, indexed.catalog, model.fingerprint),
    )
    if settings.fit_split is None and frozen is None:
        check_enough_images(featurized.featurized, settings.components)
    fitted = call(
        "fit_pca",
        f"fit PCA to {featurized.featurized:,} images" if frozen is None else f"PCA {frozen.version} as it is",
        engine.fit_pca,
        FitRequest(
            output,
            indexed.catalog,
            model.fingerprint,
            settings.components,
            settings.fit_split,
            featurized.content,
            frozen.version if frozen else "",
        ),
    )
    clock.lap("fit_pca")
    mended.say(fitted)
    projected = call(
        "project",
        f"project {featurized.featurized:,} images",
        engine.project,
        ProjectRequest(output, indexed.catalog, model.fingerprint, fitted.pca),
    )
    clock.lap("project")
    mended.say(projected)
    check_projected(featurized.featurized, projected.projected)
    record = record_of(engine, settings, model, clock.timings, indexed, featurized, fitted, projected, frozen)
    published = published_as(output, record) if all_done_before(featurized, fitted, projected) else None
    unchanged = published is not None
    record = published or record
    label = f"leave {output} as it is" if unchanged else f"publish {output}"
    location = call("publish", label, _publish, lease, output, record, clock.timings, unchanged, show)
    message = outcome(featurized, fitted, projected, unchanged=unchanged, mended=mended.files)
    return Outcome(record, location, message, unchanged)


def _examples_of_rejects(output: str, catalog: str, fingerprint: str) -> dict[str, list[str]]:
    rows = first_rejects(output, fingerprint, read_catalog(output, catalog).shards, _REJECTS_LOOKED_AT)
    return examples_by_reason(rows, _REJECTS_SHOWN)


def put_frozen_pca(settings: RunSettings, model: Model) -> Frozen:
    """Take the PCA that the settings name over into the output, if it fits the features of `model`."""
    found = find_frozen(str(settings.frozen_pca), settings.output)
    return adopt(found, settings.output, model.fingerprint)


def put_model(settings: RunSettings, on_progress: Callable[[Progress], None]) -> Model:
    """Convert the network (or take it from the cache) and put it into the output."""
    model = prepare_model(
        settings.weights,
        settings.runtime,
        cache_folder(),
        settings.network,
        lambda done, total: on_progress(Progress("model", done, total)),
    )
    publish_model(model, settings.output)
    return model


def _publish(
    lease: Lease, output: str, record: RunRecord, timings: dict[str, float], unchanged: bool, show: Show
) -> str:
    """Write the report, then replace run.json: from here on readers see the new results.

    `unchanged`: run.json stays as it is, with the timings of the run that did the work; a report that is gone is made.
    """
    lease.check()
    storage = open_storage(output)
    if not unchanged or not storage.exists(REPORT):
        # Here, as a run with nothing to do needs no report, and nothing that draws one.
        from flows.views.report import write_report

        write_report(output, record)
    if not unchanged:
        publish(output, record)
    show(output, record, timings, unchanged=unchanged)
    return storage.uri(RECORD)


def _ignore(_: Progress) -> None:
    pass


def _show_nothing(output: str, record: RunRecord, timings: dict[str, float], *, unchanged: bool) -> None:
    pass
