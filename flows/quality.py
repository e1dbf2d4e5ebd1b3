"""A check of published results: the order of its steps, with or without Prefect, as `flows.chain` has that of a run."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from engines import create_engine
from engines.base import NeighboursRequest, Progress
from engines.core.errors import InputError, QualityError
from engines.core.layout import check_folder, issues_key, layout_key, quality_key
from engines.core.output import package_versions
from engines.core.proof.reading import sealed_table
from engines.core.quality.assess import Assessment, assess
from engines.core.quality.figures import Quality, former_quality, read_quality, write_quality
from engines.core.quality.layout import MAP_ROWS, layout_table
from engines.core.quality.plan import Plan, make_plan
from engines.core.quality.sample import read_sample
from engines.core.storage import open_storage
from engines.core.storage.lease import exclusive
from engines.patience import Patience
from flows.chain import Call, plain_call
from flows.checks import check_quality_settings, complete
from flows.credentials import use_credentials
from flows.engine_log import LOGGER, running
from flows.options.published import CheckSettings
from flows.outcome import Clock
from flows.views.report import write_report


class Show(Protocol):
    """Shows a person what a check found, behind the report."""

    def __call__(self, output: str, quality: Quality, *, message: str, former: Quality | None, unchanged: bool) -> None:
        """`former`: the newest check before, of any results; `unchanged`: these results were checked before."""
        ...


@dataclass(frozen=True, slots=True)
class Checked:
    """The figures, the location of their file, and one sentence. `former`: the newest check before, of any results."""

    quality: Quality
    location: str
    message: str
    former: Quality | None
    unchanged: bool


def run_check(output: str, *, on_progress: Callable[[Progress], None] | None = None, **options: Any) -> Quality:
    """Check what is published in `output`; `options` are the other fields of `flows.options.published.CheckSettings`.

    Writes `checks/VERSION/` and the report. Raises FruitsError, as `flows.chain.run_chain` does; QualityError when the
    accuracy is below `min_accuracy`.
    """
    settings = complete(CheckSettings(output=output, **options))
    use_credentials(settings)
    return check(check_quality_settings(settings), on_progress=on_progress or _ignore).quality


def check(
    settings: CheckSettings,
    *,
    call: Call = plain_call,
    run_id: str | None = None,
    holder: str = "",
    on_progress: Callable[[Progress], None],
    show: Show | None = None,
    guard: contextlib.AbstractContextManager[None] | None = None,
) -> Checked:
    """Check with checked settings, alone in the output. The arguments are those of `flows.chain.run`."""
    output = settings.output
    plan = make_plan(output, settings.split_depth)
    storage = open_storage(output)
    former = former_quality(output, plan.version)
    with (
        exclusive(output, holder or f"fruits check, process {os.getpid()}") as lease,
        guard or contextlib.nullcontext(),
    ):
        known = _known(plan)
        unchanged = known is not None
        quality = known or _steps(settings, plan, call, run_id, on_progress)
        lease.check()
        call("report", f"report of {output}", write_report, output, plan.record, quality)
        done = Checked(
            quality, storage.uri(quality_key(check_folder(plan.version))), sentence(quality), former, unchanged
        )
        if show is not None:
            show(output, quality, message=done.message, former=former, unchanged=unchanged)
    check_accuracy(quality, settings.min_accuracy)
    return done


def _known(plan: Plan) -> Quality | None:
    """The figures of this check, if it was finished before; damaged ones are made again."""
    if not open_storage(plan.output).exists(quality_key(check_folder(plan.version))):
        return None
    try:
        return read_quality(plan.output, plan.version)
    except InputError as damage:
        LOGGER.warning("%s; they are made again", damage.message)
        return None


def _steps(
    settings: CheckSettings, plan: Plan, call: Call, run_id: str | None, on_progress: Callable[[Progress], None]
) -> Quality:
    clock = Clock()
    engine = create_engine(
        settings.engine,
        workers=settings.workers,
        scheduler=settings.scheduler,
        patience=Patience(settings.tries, settings.worker_seconds),
        settings=settings.engine_settings,
        run=run_id or uuid.uuid4().hex[:12],
    )
    engine.on_progress = on_progress
    images = f"{len(plan.rows.paths):,} images"
    with running(engine):
        request = NeighboursRequest(plan.output, plan.version, settings.split_depth)
        call("neighbours", f"nearest images of {images}", engine.neighbours, request)
        details = dict(engine.describe())
    clock.lap("neighbours")
    assessment: Assessment = call("assess", f"assess {images}", assess, plan)
    clock.lap("assess")
    layout = call("map", f"map of {min(MAP_ROWS, len(plan.rows.paths)):,} images", lay_out, plan)
    clock.lap("map")
    facts = {
        "engine": engine.name,
        "engine_details": details,
        "versions": package_versions(),
        "timings": clock.timings,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    quality = publish_check(plan, assessment, layout, facts)
    LOGGER.info("%s", sentence(quality))
    return quality


def publish_check(plan: Plan, assessment: Assessment, layout: bytes, facts: Mapping[str, Any]) -> Quality:
    """Write the tables of a check, and last its figures, which are its commit."""
    quality = replace(assessment.quality, facts=facts)
    storage, folder = open_storage(plan.output), check_folder(plan.version)
    storage.write(issues_key(folder), sealed_table(assessment.issues, issues_key(folder)))
    storage.write(layout_key(folder), layout)
    write_quality(plan.output, quality)
    return quality


def lay_out(plan: Plan) -> bytes:
    """The map of some of the photos, as parquet."""
    sample = read_sample(plan, MAP_ROWS, features=False)
    rows = sample.rows.tolist()
    paths, labels = ([column[row] for row in rows] for column in (plan.rows.paths, plan.rows.labels))
    return sealed_table(layout_table(paths, labels, sample.results), layout_key(check_folder(plan.version)))


def sentence(quality: Quality) -> str:
    """What a check found, in one sentence."""
    right = f"{quality.rows:,} images of fewer than two classes"
    if quality.accuracy:
        images = f"{quality.accuracy.vote:.1%} of {quality.labelled:,} images"
        right = f"the vote of {quality.neighbours} neighbours is right for {images}"
    found = [f"{count:,} {name.replace('_', ' ')}" for name, count in quality.issues.items() if count]
    return f"{right}; issues: {', '.join(found) or 'none'}"


def check_accuracy(quality: Quality, least: float | None) -> None:
    """Raise QualityError when the accuracy is below `least`, InputError when it cannot be told."""
    if least is None:
        return
    if quality.accuracy is None:
        raise InputError("min-accuracy needs labels of two classes at least", "Leave it out.")
    if quality.accuracy.vote < least:
        worst = ", ".join(f"{each.label} ({each.recall:.1%})" for each in quality.classes[:3])
        raise QualityError(
            f"the accuracy {quality.accuracy.vote:.2%} is below the {least:.2%} asked for; worst classes: {worst}",
            "The report shows which images are confused, and which labels are in doubt.",
        )


def _ignore(_: Progress) -> None:
    pass
