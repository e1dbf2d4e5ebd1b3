"""What flows decide and say, without a server."""

from __future__ import annotations

import json
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
from engines.core.output import RunRecord, publish, read_record
from flows import chain
from flows.engine_log import running
from flows.outcome import all_done_before, outcome, published_as
from flows.runtime.emr_block import EmrSettingsBlock
from flows.runtime.tasks import stage_task
from flows.views import page
from flows.views.page import link_to, summary_markdown
from flows.views.progress import throttled
from tests.records import PUBLISHED, record_with


def test_only_what_may_heal_is_tried_again_and_later_each_time() -> None:
    task = stage_task("index", "index /photos", lambda: None)
    assert task.retries == 2
    assert task.retry_delay_seconds == [5, 30]
    may_heal = task.retry_condition_fn
    assert may_heal is not None
    assert may_heal(task, None, Failed(data=TransientError("throttled")))  # type: ignore[arg-type]
    for kind in (InputError, StorageError, RejectsError, ContractError, StageError):
        assert not may_heal(task, None, Failed(data=kind("for good")))  # type: ignore[arg-type]
    assert not may_heal(task, None, Failed(data=OSError("unknown")))  # type: ignore[arg-type]


def test_a_plain_call_tries_again_what_a_task_would(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(chain.time, "sleep", pauses.append)
    failures = [TransientError("throttled"), TransientError("throttled")]

    def stage(value: int) -> int:
        if failures:
            raise failures.pop()
        return value

    assert chain.plain_call("index", "index /photos", stage, 7) == 7
    assert pauses == [5, 30]
    failures[:] = [TransientError("once"), TransientError("twice"), TransientError("for good")]
    with pytest.raises(TransientError, match="once"):
        chain.plain_call("index", "index /photos", stage, 7)
    for kind in (InputError, StorageError, RejectsError, ContractError, StageError):
        pauses.clear()
        failures[:] = [kind("for good")]  # type: ignore[list-item]
        with pytest.raises(kind):
            chain.plain_call("index", "index /photos", stage, 7)
        assert pauses == []


FEATURIZED = FeaturizeReport(listed=1000, featurized=990, reused=0, computed=1000, rejected={"empty": 10})
FITTED = FitReport(pca="p", components=8, explained_variance=0.5, components_for_95=20, reused=False)
PROJECTED = ProjectReport(results="results/p", parts=[], projected=990, reused=0)


def test_the_outcome_says_what_was_done_and_what_was_there() -> None:
    whole = "990 images in 8 dimensions, which explain 50.0% of the variance; 10 rejected"
    assert outcome(FEATURIZED, FITTED, PROJECTED) == whole
    resumed = replace(FEATURIZED, reused=400, computed=590)
    assert outcome(resumed, FITTED, PROJECTED) == f"{whole}; 400 done by a former run"
    featurized, fitted, projected = (
        replace(FEATURIZED, reused=990, computed=0),
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


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    publish(str(tmp_path), record_with({}))
    written = json.loads((tmp_path / "run.json").read_text())
    assert written.pop("seal").startswith("<sealed run.json sha256:")
    assert written == PUBLISHED
    assert list(written) == list(PUBLISHED)
    assert read_record(str(tmp_path)) == record_with({})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is truncated"),
        ('{"format": 1, "a": }', "is corrupt"),
        ("[1]", "is no JSON object"),
        ('{"format": 1}', "'source' is missing"),
        ('{"format": 2}', "has format 2, known here is 1"),
        (json.dumps(PUBLISHED | {"counts": 3}), "is damaged"),
        (json.dumps(PUBLISHED | {"parts": [{"key": "p"}]}), "'rows' is missing"),
    ],
)
def test_a_record_that_is_damaged_is_said_by_its_name(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(InputError, match=r"run\.json") as error:
        read_record(str(tmp_path))
    assert message in error.value.message


@pytest.mark.parametrize(
    "change",
    [
        {"timings": {"featurize": 0.1}},
        {"finished": "2026-01-02T00:00:00+00:00"},
        {"engine": "spark", "engine_details": {"scheduler": "local[2]"}},
        {"versions": {"prefect": "3.9.0"}},
        {"parameters": {**PUBLISHED["parameters"], "network": "mobilenet_v2", "credentials": "fruits"}},
        {"counts": PUBLISHED["counts"] | {"reused": 10}},
        {"parameters": {"engine": "spark", "workers": 1, "scheduler": "local[2]", "emr": {}, "glob": "*.jpg"}},
    ],
    ids="-".join,
)
def test_facts_of_a_run_that_did_nothing_do_not_replace_those_of_the_run_that_did(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    publish(str(tmp_path), record_with({}))
    assert published_as(str(tmp_path), record_with(change)) == record_with({})


@pytest.mark.parametrize(
    "change",
    [
        {"source": "/other"},
        {"results": "results/q"},
        {"counts": PUBLISHED["counts"] | {"reused": 10, "left_out": 2}},
        {"parameters": {**PUBLISHED["parameters"], "glob": "*.j*"}},
        {"parts": [{"key": "results/p/part-0", "rows": 10, "sha256": "1"}]},
        {"parameters": {**PUBLISHED["parameters"], "network": "resnet50_v2"}},
    ],
    ids="-".join,
)
def test_whatever_else_differs_is_published(tmp_path: Path, change: dict[str, Any]) -> None:
    publish(str(tmp_path), record_with({}))
    assert published_as(str(tmp_path), record_with(change)) is None


def test_what_is_not_there_or_damaged_is_published(tmp_path: Path) -> None:
    assert published_as(str(tmp_path), record_with({})) is None
    (tmp_path / "run.json").write_text("{")
    assert published_as(str(tmp_path), record_with({})) is None


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


def record(**details: Any) -> RunRecord:
    counts = {"listed": 1000, "featurized": 990, "rejected": 10, "projected": 990}
    return record_with(
        {
            "counts": PUBLISHED["counts"] | counts,
            "rejected_by_reason": {"empty": 10},
            "engine": "emr-serverless",
            "engine_details": details,
        }
    )


def test_the_summary_of_a_run_that_did_nothing_says_whose_figures_it_shows(tmp_path: Path) -> None:
    text = summary_markdown(str(tmp_path), record(), unchanged=True)
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
        ({"cost_usd": 1.234, "prices_of": "2026-11-01"}, "billed 1.23 US dollars, at prices of 2026-11-01"),
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

    monkeypatch.setattr(page, "get_run_logger", lambda: logging.getLogger("the_run"))
    monkeypatch.setattr(page, "create_progress_artifact", create)
    monkeypatch.setattr(page, "update_progress_artifact", update)
    with page.progress_shown("featurize") as listener:
        listener(Progress("featurize", 1, 4))
        listener(Progress("featurize", 4, 4))
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
    caplog: pytest.LogCaptureFixture,
) -> None:
    library = logging.getLogger("noisy_library")
    with running(_NoisyEngine()):
        library.info("connected")
        library.warning("a worker died\nTraceback: ...")
    lines = [(line.name, line.getMessage()) for line in caplog.records]
    assert lines == [("fruits.run", "noisy_library: a worker died")]
    assert library.propagate
    assert library.level == logging.NOTSET
    assert library.handlers == []
