"""What a run has done: the record that is published, and one sentence for whoever watches."""

from __future__ import annotations

import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from engines.base import Engine, FeaturizeReport, FitReport, IndexReport, ProjectReport
from engines.core.model import Model
from engines.core.run_record import package_versions
from flows.settings import RunSettings


class Clock:
    """Seconds per stage."""

    def __init__(self) -> None:
        self.timings: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """The time since the last lap was that of `stage`."""
        now = time.perf_counter()
        self.timings[stage] = round(now - self._last, 3)
        self._last = now


def outcome(featurized: FeaturizeReport, fitted: FitReport, projected: ProjectReport) -> str:
    """What this run has done, in one sentence."""
    rejected = sum(featurized.rejected.values())
    result = (
        f"{projected.projected:,} images in {fitted.components:,} dimensions, which explain"
        f" {fitted.explained_variance:.1%} of the variance; {rejected:,} rejected"
    )
    if featurized.reused == featurized.listed and fitted.reused and projected.reused == projected.projected:
        return f"Nothing to do, all was done by a former run: {result}"
    fresh = featurized.listed - featurized.reused
    return result if fresh == featurized.listed else f"{result}; {featurized.reused:,} done by a former run"


def record_of(
    engine: Engine,
    settings: RunSettings,
    model: Model,
    timings: dict[str, float],
    indexed: IndexReport,
    featurized: FeaturizeReport,
    fitted: FitReport,
    projected: ProjectReport,
) -> dict[str, Any]:
    """What run.json says of a run, see `engines.core.run_record`."""
    return {
        "source": settings.source,
        "results": projected.results,
        "counts": {
            "listed": indexed.listed,
            "featurized": featurized.featurized,
            "rejected": sum(featurized.rejected.values()),
            "projected": projected.projected,
            "reused": featurized.reused,
            "labels": indexed.labels,
            "left_out": indexed.left_out,
            "left_out_by_case": indexed.left_out_by_case,
        },
        "rejected_by_reason": featurized.rejected,
        "components": fitted.components,
        "explained_variance": fitted.explained_variance,
        "components_for_95": fitted.components_for_95,
        "engine": engine.name,
        "engine_details": {**engine.describe(), "worker_peak_memory": featurized.peak_memory},
        "parameters": asdict(settings),
        "model": {"fingerprint": model.fingerprint, **model.recipe},
        "catalog": f"catalog/{indexed.catalog}.json",
        "pca": f"pca/{fitted.pca}",
        "versions": package_versions(),
        "timings": timings,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "parts": projected.parts,
    }
