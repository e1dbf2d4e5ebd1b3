"""What flows decide and say, without a server."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from prefect.states import Failed

from engines.base import Engine, FeaturizeReport, FitReport, Progress, ProjectReport
from engines.core.errors import ContractError, InputError, RejectsError, StageError, StorageError, TransientError
from engines.core.output import publish
from flows import fruit_features
from flows import recheck as parity_check
from flows.outcome import all_done_before, outcome, published_as
from flows.runtime import logs
from flows.runtime.emr_block import EmrSettingsBlock
from flows.runtime.progress import throttled
from flows.views import page as artifacts
from flows.views.page import link_to, summary_markdown

TASKS = [
    getattr(fruit_features, f"{stage}_task")
    for stage in ("model", "index", "featurize", "fit_pca", "project", "publish", "leave")
] + [parity_check.compare_task]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_only_what_may_heal_is_tried_again_and_later_each_time(task: Any) -> None:
    assert task.retries == 2
    assert task.retry_delay_seconds == [5, 30]
    may_heal = task.retry_condition_fn
    assert may_heal(task, None, Failed(data=TransientError("throttled")))
    for kind in (InputError, StorageError, RejectsError, ContractError, StageError):
        assert not may_heal(task, None, Failed(data=kind("for good")))
    assert not may_heal(task, None, Failed(data=OSError("unknown")))


FEATURIZED = FeaturizeReport(listed=1000, featurized=990, reused=0, rejected={"empty": 10})
FITTED = FitReport(pca="p", components=8, explained_variance=0.5, components_for_95=20, reused=False)
PROJECTED = ProjectReport(results="results/p", parts=[], projected=990, reused=0)


def test_the_outcome_says_what_was_done_and_what_was_there() -> None:
    whole = "990 images in 8 dimensions, which explain 50.0% of the variance; 10 rejected"
    assert outcome(FEATURIZED, FITTED, PROJECTED) == whole
    resumed = replace(FEATURIZED, reused=400)
    assert outcome(resumed, FITTED, PROJECTED) == f"{whole}; 400 done by a former run"
    featurized, fitted, projected = (
        replace(FEATURIZED, reused=1000),
        replace(FITTED, reused=True),
        replace(PROJECTED, reused=990),
    )
    assert outcome(featurized, fitted, projected) == f"Published what former runs had done: {whole}"
    nothing = outcome(featurized, fitted, projected, unchanged=True)
    assert nothing == f"Nothing to do, all was done by a former run: {whole}"
    assert all_done_before(featurized, fitted, projected)
    assert not all_done_before(resumed, fitted, projected)
    assert not all_done_before(featurized, FITTED, projected)
    assert not all_done_before(featurized, fitted, PROJECTED)


PUBLISHED: dict[str, Any] = {
    "source": "/photos",
    "results": "results/p",
    "counts": {"listed": 10, "reused": 0, "left_out": 1},
    "parameters": {"engine": "dask", "workers": 2, "scheduler": None, "emr": None, "glob": "*.jpg"},
    "engine": "dask",
    "engine_details": {"workers": 2},
    "versions": {"prefect": "3.8.8"},
    "timings": {"featurize": 12.5},
    "finished": "2026-01-01T00:00:00+00:00",
    "parts": [{"key": "results/p/part-0", "rows": 10, "sha256": "0"}],
}


@pytest.mark.parametrize(
    "change",
    [
        {"timings": {"featurize": 0.1}},
        {"finished": "2026-01-02T00:00:00+00:00"},
        {"engine": "spark", "engine_details": {"scheduler": "local[2]"}},
        {"versions": {"prefect": "3.9.0"}},
        {"counts": {"listed": 10, "reused": 10, "left_out": 1}},
        {"parameters": {"engine": "spark", "workers": 1, "scheduler": "local[2]", "emr": {}, "glob": "*.jpg"}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_facts_of_a_run_that_did_nothing_do_not_replace_those_of_the_run_that_did(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    publish(str(tmp_path), PUBLISHED)
    found = published_as(str(tmp_path), PUBLISHED | change)
    assert found is not None
    assert {name: found[name] for name in PUBLISHED} == PUBLISHED


@pytest.mark.parametrize(
    "change",
    [
        {"source": "/other"},
        {"results": "results/q"},
        {"counts": {"listed": 10, "reused": 10, "left_out": 2}},
        {"parameters": {**PUBLISHED["parameters"], "glob": "*.j*"}},
        {"parts": [{"key": "results/p/part-0", "rows": 10, "sha256": "1"}]},
        {"new": "what a later version says"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_else_differs_is_published(tmp_path: Path, change: dict[str, Any]) -> None:
    publish(str(tmp_path), PUBLISHED)
    assert published_as(str(tmp_path), PUBLISHED | change) is None


def test_what_is_not_there_or_damaged_is_published(tmp_path: Path) -> None:
    assert published_as(str(tmp_path), PUBLISHED) is None
    (tmp_path / "run.json").write_text("{")
    assert published_as(str(tmp_path), PUBLISHED) is None


@pytest.mark.parametrize(
    ("output", "link"),
    [
        ("/data/my features", "file:///data/my%20features/report.html"),
        ("s3://bucket/a/b", "https://console.aws.amazon.com/s3/object/bucket?prefix=a/b/report.html"),
        ("s3://bucket", "https://console.aws.amazon.com/s3/object/bucket?prefix=report.html"),
    ],
)
def test_links_open_in_a_browser(monkeypatch: pytest.MonkeyPatch, output: str, link: str) -> None:
    monkeypatch.delenv("FRUITS_REPORTS_URL", raising=False)
    assert link_to(output, "report.html") == link


def test_links_to_folders_are_http_where_reports_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRUITS_REPORTS_URL", "http://127.0.0.1:4201")
    assert link_to("/data/a b", "report.html") == "http://127.0.0.1:4201/data/a%20b/report.html"
    assert link_to("s3://bucket/out", "report.html").startswith("https://console.aws.amazon.com/")


def record(**details: Any) -> dict[str, Any]:
    counts = {"listed": 1000, "featurized": 990, "reused": 0, "rejected": 10, "projected": 990, "labels": 3}
    return {
        "counts": counts,
        "rejected_by_reason": {"empty": 10},
        "components": 8,
        "explained_variance": 0.5,
        "components_for_95": 20,
        "results": "results/p",
        "model": {"weights": "random", "runtime": "litert"},
        "engine": "emr-serverless",
        "engine_details": details,
    }


def test_the_summary_of_a_run_that_did_nothing_says_whose_figures_it_shows(tmp_path: Path) -> None:
    text = summary_markdown(str(tmp_path), record() | {"finished": "2026-01-01T00:00:00+00:00"}, unchanged=True)
    assert "This run had nothing to do: the figures are of the run of 2026-01-01T00:00:00+00:00." in text
    assert "nothing to do" not in summary_markdown(str(tmp_path), record())


def test_the_summary_has_rejects_by_reason_and_marks_weights_that_were_made_up(tmp_path: Any) -> None:
    text = summary_markdown(str(tmp_path), record())
    assert "| – empty | 10 | the file has no bytes |" in text
    assert "weights random (made up, not trained" in text


@pytest.mark.parametrize(
    ("details", "cost"),
    [
        ({}, "none: nothing was rented"),
        ({"cost_usd": 1.234, "prices_of": "2026-11-01"}, "US$ 1.23, at prices of 2026-11-01"),
        ({"cost_usd": "no price known", "prices_of": "2026-11-01"}, "no price known"),
        ({"billed": "not reported by AWS yet"}, "not reported by AWS yet"),
    ],
)
def test_the_summary_has_the_cost_or_why_it_is_not_known(tmp_path: Any, details: dict[str, Any], cost: str) -> None:
    assert f"**Cost** {cost}\n" in summary_markdown(str(tmp_path), record(**details))


def test_a_block_hands_on_only_what_differs_from_the_defaults() -> None:
    block = EmrSettingsBlock(artifacts="s3://bucket/fruits", region="us-east-1", max_cost=3)
    assert block.overrides() == {"artifacts": "s3://bucket/fruits", "max_cost": 3}


def test_progress_is_shown_at_once_then_now_and_then_and_at_the_end() -> None:
    shown: list[int] = []
    listener = throttled(lambda progress: shown.append(progress.done))
    for done in range(101):
        listener(Progress("featurize", done, 100))
    assert shown == [0, 100]


def test_a_stage_goes_on_while_its_progress_cannot_be_shown(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shown: list[tuple[float, str]] = []
    away = [httpx.ConnectError("the server is away")]

    def create(*, progress: float, key: str, description: str) -> UUID:
        if away:
            raise away.pop()
        shown.append((progress, description))
        return UUID(int=1)

    def update(_: UUID, *, progress: float, description: str) -> None:
        shown.append((progress, description))

    monkeypatch.setattr(artifacts, "get_run_logger", lambda: logging.getLogger("the_run"))
    monkeypatch.setattr(artifacts, "create_progress_artifact", create)
    monkeypatch.setattr(artifacts, "update_progress_artifact", update)
    engine = _NoisyEngine()
    with artifacts.progress_of(engine, "featurize"):
        engine.on_progress(Progress("featurize", 1, 4))
        engine.on_progress(Progress("featurize", 4, 4))
    assert shown == [(25.0, "featurize: 1 of 4 images"), (100.0, "featurize: 4 of 4 images")]
    assert "The progress on Prefect's page stands still: the server is away" in caplog.text


class _NoisyEngine(Engine):
    name = "noisy"
    loggers = ("noisy_library",)
    index = featurize = fit_pca = project = None  # type: ignore[assignment]

    def close(self) -> None:
        logging.getLogger("noisy_library").warning("a worker took long to end")


_NoisyEngine.__abstractmethods__ = frozenset()


def test_warnings_of_an_engine_reach_the_run_and_the_rest_does_not(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logs, "get_run_logger", lambda: logging.getLogger("the_run"))
    library = logging.getLogger("noisy_library")
    with logs.running(_NoisyEngine()):
        library.info("connected")
        library.warning("a worker died\nTraceback: ...")
    assert [(line.name, line.getMessage()) for line in caplog.records] == [("the_run", "noisy_library: a worker died")]
    assert library.propagate
    assert library.level == logging.NOTSET
    assert library.handlers == []
