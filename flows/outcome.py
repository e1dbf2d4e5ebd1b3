"""What a run has done: the record that is published, and one sentence for whoever watches."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from typing import Any

from engines.base import Engine, FeaturizeReport, FitReport, IndexReport, ProjectReport
from engines.core.errors import DamagedError, InputError
from engines.core.frozen import Frozen
from engines.core.layout import catalog_key, pca_folder
from engines.core.networks.model import Model
from engines.core.output import (
    Arithmetic,
    Counts,
    FrozenPca,
    ModelRecord,
    Part,
    RunRecord,
    package_versions,
    read_record,
)
from flows.engine_log import LOGGER
from flows.options.run import RunSettings

NOTHING_TO_DO = "Nothing to do, all was done by a former run"

_OF_THE_RUN = ("timings", "finished", "engine", "engine_details", "versions", "arithmetic")
"""What a record says of the run that did the work, and not of what came out."""
_PARAMETERS_OF_THE_RUN = (
    "verify_content",
    "engine",
    "workers",
    "scheduler",
    "emr",
    "credentials",
    "photo_seconds",
    "photo_memory",
    "quarantine",
    "tries",
    "worker_seconds",
    "source_moved",
)
_PARAMETERS_BEFORE = {each.name: each.default for each in fields(RunSettings)}
"""What parameters were that records of before do not have: a new one leaves, by default, all as it was."""


class Clock:
    """Seconds per stage."""

    def __init__(self) -> None:
        self.timings: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """The time since the last lap was that of `stage`."""
        now = time.perf_counter()
        self.timings[stage] = round(self.timings.get(stage, 0.0) + now - self._last, 3)
        self._last = now


class Mended:
    """What a run has found in the rounds of its stages: what is damaged is said, counted, and made again."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.files = 0
        self.shards: dict[str, None] = {}
        """Whose features are to be computed again though they are there, in the order they were found."""
        self.verified = False
        """Whether the content of the photos was verified, if that was asked for."""
        self._unsealed = 0
        self._reused: int | None = None

    def featurized(self, report: FeaturizeReport) -> FeaturizeReport:
        """Tell what featurize found; the report, with what former runs did, and not former rounds of this one."""
        self.say(report)
        self.verified = True
        self._reused = report.reused if self._reused is None else min(self._reused, report.reused)
        return replace(report, reused=self._reused)

    def say(self, report: FeaturizeReport | FitReport | ProjectReport) -> None:
        """Tell what a stage found and made again."""
        for line in report.damage:
            LOGGER.warning("%s; made again", line)
        self.files += len(report.damage)
        if isinstance(report, FeaturizeReport) and report.unsealed > self._unsealed:
            self._unsealed = report.unsealed
            LOGGER.warning(
                "%s files of features are of before there were checksums, and are taken as they are",
                f"{report.unsealed:,}",
            )

    def again(self, error: DamagedError) -> None:
        """Note what stopped a stage, for the stages to begin again."""
        LOGGER.warning("%s; it is made again", error.message)
        self.files += max(1, len(error.shards))
        self.shards |= dict.fromkeys(error.shards)


def all_done_before(featurized: FeaturizeReport, fitted: FitReport, projected: ProjectReport) -> bool:
    """Whether this run found every feature, the PCA and every result there, and computed nothing."""
    return not featurized.computed and fitted.reused and projected.reused == projected.projected


def published_as(output: str, record: RunRecord) -> RunRecord | None:
    """The published record if it says the same as `record`, but for facts of the run that did the work; else None."""
    try:
        published = read_record(output)
    except InputError:
        return None  # nothing is published, or what is there cannot be read and is to be replaced
    return published if _of_the_results(published) == _of_the_results(record) else None


def _of_the_results(record: RunRecord) -> dict[str, Any]:
    facts = {name: value for name, value in record.to_json().items() if name not in _OF_THE_RUN}
    facts["counts"] = {name: count for name, count in facts["counts"].items() if name != "reused"}
    facts["parameters"] = _PARAMETERS_BEFORE | {
        name: value for name, value in facts["parameters"].items() if name not in _PARAMETERS_OF_THE_RUN
    }
    # As run.json has it: 128.0 and 128, tuples and lists are the same there.
    plain: dict[str, Any] = json.loads(json.dumps(facts))
    return plain


def outcome(
    featurized: FeaturizeReport,
    fitted: FitReport,
    projected: ProjectReport,
    *,
    unchanged: bool = False,
    mended: int = 0,
) -> str:
    """What this run has done, in one sentence. `unchanged`: what it would publish is what is published; `mended`: so
    many damaged files were made again.
    """
    rejected = sum(featurized.rejected.values())
    result = (
        f"{projected.projected:,} images in {fitted.components:,} dimensions, which explain"
        f" {fitted.explained_variance:.1%} of the variance; {rejected:,} rejected"
    )
    if mended:
        result += f"; {mended:,} damaged files made again"
    if unchanged:
        return f"{NOTHING_TO_DO}: {result}"
    if all_done_before(featurized, fitted, projected):
        return f"Published what former runs had done: {result}"
    return f"{result}; {featurized.reused:,} done by a former run" if featurized.reused else result


def record_of(
    engine: Engine,
    settings: RunSettings,
    model: Model,
    timings: dict[str, float],
    indexed: IndexReport,
    featurized: FeaturizeReport,
    fitted: FitReport,
    projected: ProjectReport,
    frozen: Frozen | None = None,
) -> RunRecord:
    """What run.json says of a run. `frozen`: the PCA it took, if it fitted none."""
    return RunRecord(
        source=settings.source,
        results=projected.results,
        counts=Counts(
            listed=indexed.listed,
            featurized=featurized.featurized,
            rejected=sum(featurized.rejected.values()),
            projected=projected.projected,
            reused=featurized.reused,
            labels=indexed.labels,
            left_out=sum(sum(names.values()) for names in indexed.left_out.values()),
            left_out_by_case=indexed.left_out_by_case,
        ),
        rejected_by_reason=featurized.rejected,
        components=fitted.components,
        explained_variance=fitted.explained_variance,
        components_for_95=fitted.components_for_95,
        engine=engine.name,
        engine_details={**engine.describe(), "worker_peak_memory": featurized.peak_memory},
        parameters=asdict(settings),
        model=ModelRecord(model.fingerprint, model.recipe),
        catalog=catalog_key(indexed.catalog),
        pca=pca_folder(fitted.pca),
        versions=package_versions(),
        timings=timings,
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        arithmetic=Arithmetic(featurized.canary, featurized.deviating, tuple(fitted.tied), tuple(fitted.unsettled)),
        left_out=indexed.left_out,
        splits=indexed.splits,
        remarks=tuple(indexed.remarks),
        frozen_pca=_frozen(frozen, fitted),
        parts=tuple(Part(**part) for part in projected.parts),  # type: ignore[arg-type]
    )


def _frozen(frozen: Frozen | None, fitted: FitReport) -> FrozenPca | None:
    if frozen is None or fitted.frozen_variance is None:
        return None
    return FrozenPca(pca_folder(frozen.version), frozen.location, fitted.frozen_variance)
