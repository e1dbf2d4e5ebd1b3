"""What `prefect deploy --all` registers, and a run from a person's terminal to its artifacts."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from engines import ENGINES
from engines.core import tables
from engines.core.output import read_record
from engines.core.proof.reading import sealed_table
from engines.core.quality.figures import latest_quality, write_quality
from flows.options.shared import MOST_COMPONENTS
from tests.e2e.prefect_kit import PrefectKit, processes_of, wait_for
from tests.processes import command_of
from tests.records import edit_record

pytestmark = pytest.mark.timeout(400)

Finished = tuple[str, Path, str]


def test_all_deployments_are_there_and_none_runs_by_itself(deployed: PrefectKit) -> None:
    found = {
        name: deployed.api(f"/deployments/name/{name}")
        for name in ("fruit-features/laptop", "fruit-features/production", "recheck/nightly")
    }
    assert found["fruit-features/laptop"]["parameters"]["engine"] == "dask"
    production = found["fruit-features/production"]
    assert production["parameters"]["engine"] == "emr-serverless"
    assert production["global_concurrency_limit"]["limit"] == 1
    assert production["concurrency_options"]["collision_strategy"] == "ENQUEUE"
    laptop = found["fruit-features/laptop"]
    assert laptop["global_concurrency_limit"]["limit"] == 1
    assert laptop["concurrency_options"]["collision_strategy"] == "ENQUEUE"
    assert not any(deployment["schedules"] for deployment in found.values())


def test_the_form_has_choices_bounds_and_help(deployed: PrefectKit) -> None:
    schema = deployed.api("/deployments/name/fruit-features/laptop")["parameter_openapi_schema"]
    form = schema["properties"]
    assert form["engine"]["enum"] == list(ENGINES)
    assert form["runtime"]["enum"] == ["litert", "tensorflow"]
    assert form["components"]["maximum"] == MOST_COMPONENTS
    assert form["max_rejects"]["maximum"] == 1
    assert all(field["description"] for field in form.values()), form
    assert schema["required"] == ["source", "output"]


def test_a_parameter_out_of_bounds_is_refused_before_there_is_a_run(deployed: PrefectKit) -> None:
    refused = deployed.prefect(
        "deployment", "run", "fruit-features/laptop",
        "--param", "source=/photos", "--param", "output=/output", "--param", "engine=abacus",
    )  # fmt: skip
    assert refused.returncode != 0
    assert "'abacus' is not one of" in " ".join((refused.stdout + refused.stderr).split())


def test_a_watched_run_completes_and_says_what_it_did(deployed: PrefectKit, finished: Finished) -> None:
    run, output, terminal = finished
    assert "Flow run finished successfully" in terminal
    found = deployed.flow_run(run)
    assert found["state_type"] == "COMPLETED"
    assert found["name"] == "photos on dask"
    assert found["state"]["message"].startswith("60 images in 8 dimensions, which explain ")
    assert found["state"]["message"].endswith("; 1 rejected")
    assert set(found["tags"]) >= {"fruits", "dask"}
    names = wait_for(lambda: len(found := deployed.task_names(run)) == 6 and found, 30, "task runs are missing")
    assert names == [
        f"index {few_source(output)}",
        names[1],
        "featurize 61 images",
        "fit PCA to 60 images",
        "project 60 images",
        f"publish {output}",
    ]
    assert names[1].startswith("model ")


def few_source(output: Path) -> str:
    return str(json.loads((output / "run.json").read_text())["source"])


def test_artifacts_have_the_numbers_of_the_run(deployed: PrefectKit, finished: Finished) -> None:
    run, output, _ = finished
    record = json.loads((output / "run.json").read_text())
    found = deployed.artifacts(run)
    summary = found["summary"]["data"]
    for line in (
        "# 60 images in 8 dimensions",
        "| listed | 61 | of 6 classes |",
        "| rejected | 1 | |",
        "| – truncated | 1 |",
        f"| explained by 8 components | {record['explained_variance']:.2%} |",
        f"{output}/report.html",
    ):
        assert line in summary
    rows = {row["stage"]: row["seconds"] for row in json.loads(found["time-per-stage"]["data"])}
    assert rows == {
        **{stage: round(seconds, 1) for stage, seconds in record["timings"].items()},
        "together": round(sum(record["timings"].values()), 1),
    }
    for stage in ("featurize", "fit-pca", "project"):
        assert found[f"{stage}-progress"]["data"] == 100.0
    assert "featurize: 61 of 61 images" in found["featurize-progress"]["description"]
    assert (output / "report.html").is_file()
    assert "report.html" in found["report"]["data"]


def test_the_log_is_short_and_says_what_matters(deployed: PrefectKit, finished: Finished) -> None:
    log = wait_for(lambda: "Completed" in (text := deployed.log(finished[0])) and text, 30, "the log is incomplete")
    assert "61 images of 6 classes in " in log
    assert "60 featurized, 0 of them by a former run; 1 rejected" in log
    assert "Scheduler cancels" not in log
    assert len(log.splitlines()) < 30, log


def test_a_run_with_nothing_to_do_starts_nothing_changes_nothing_and_says_so(
    prefect: PrefectKit, finished: Finished, few_photos: Path, weights: str
) -> None:
    _, output, _ = finished
    record = (output / "run.json").read_bytes()
    run = again(prefect, few_photos, output, weights)
    workers = set()

    def ended() -> bool:
        workers.update(process for process in processes_of(run) if "engines.dask.cluster" in command_of(process))
        return prefect.flow_run(run)["state_type"] in ("COMPLETED", "FAILED", "CRASHED")

    wait_for(ended, 150, prefect.log(run))
    found = prefect.flow_run(run)
    assert found["state"]["message"].startswith("Nothing to do, all was done by a former run: 60 images")
    assert not workers
    assert (output / "run.json").read_bytes() == record
    artifacts = prefect.artifacts(run)
    assert artifacts["featurize-progress"]["description"] == "featurize: all done by a former run"
    assert "This run had nothing to do" in artifacts["summary"]["data"]


def again(prefect: PrefectKit, photos: Path, output: Path, weights: str) -> str:
    """Start the finished run once more, on this output."""
    return prefect.run(
        "fruit-features/laptop",
        source=str(photos), output=str(output), weights=weights, components=8, shard_size=16, max_rejects=0.05,
    )  # fmt: skip


def test_features_that_are_damaged_are_made_again(
    prefect: PrefectKit, copy_of_finished: Path, few_photos: Path, weights: str
) -> None:
    shard = next((copy_of_finished / "features").glob("*.parquet"))
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-100])
    run = again(prefect, few_photos, copy_of_finished, weights)
    found = prefect.wait(run)
    assert found["state_type"] == "COMPLETED", prefect.log(run)
    assert shard.read_bytes() == whole
    assert read_record(str(copy_of_finished)).counts.featurized == 60


def test_a_failure_has_its_reason_as_state_message(
    prefect: PrefectKit, few_photos: Path, weights: str, tmp_path: Path
) -> None:
    # 1 of 61 is more than 1 %: found out after featurizing.
    strict = prefect.run(
        "fruit-features/laptop",
        source=str(few_photos), output=str(tmp_path / "output"), weights=weights, components=8, shard_size=16,
    )  # fmt: skip
    missing = prefect.run("fruit-features/laptop", source="/no/such/photos", output=str(tmp_path / "other"))
    found = prefect.wait(strict)
    assert found["state_type"] == "FAILED"
    assert found["state"]["message"].startswith(
        "1 of 61 images were rejected, more than the 1.00% allowed: 1 truncated"
    )
    assert not (tmp_path / "output" / "run.json").exists()
    found = prefect.wait(missing)
    assert found["state_type"] == "FAILED"
    assert found["state"]["message"].startswith("the source /no/such/photos does not exist\n")


def test_a_missing_parameter_is_a_failed_run_that_says_which(prefect: PrefectKit) -> None:
    for deployment, name in (("recheck/nightly", "output"), ("fruit-features/laptop", "source")):
        found = prefect.wait(prefect.run_unchecked(deployment))
        assert found["state_type"] == "FAILED", found["state"]
        assert found["state"]["message"].startswith(f"the parameter {name} is missing\n")


def test_published_results_come_out_the_same(prefect: PrefectKit, finished: Finished) -> None:
    run = prefect.run("recheck/nightly", output=str(finished[1]), images=25)
    found = prefect.wait(run)
    assert found["state"]["message"] == "all 25 images are the same bit for bit"
    assert found["state_type"] == "COMPLETED"
    assert "| compared | 25 |" in prefect.artifacts(run)["recheck"]["data"]


def test_changed_results_are_found_out(prefect: PrefectKit, copy_of_finished: Path) -> None:
    part = next((copy_of_finished / "results").rglob("part-00001-*.parquet"))
    table = tables.from_parquet(part.read_bytes())
    values = tables.to_matrix(table["pcaFeatures"]).copy()
    values[3, 5] += 0.5
    column = tables.to_lists(values, tables.RESULTS.field(2).type)
    changed = table.set_column(2, tables.RESULTS.field(2), column).replace_schema_metadata(None)
    # As code with an error would have published it.
    key = part.relative_to(copy_of_finished).as_posix()
    part.write_bytes(sealed_table(changed, key, tables.metadata_of(table.schema)))
    parts = json.loads((copy_of_finished / "run.json").read_text())["parts"]
    digest = hashlib.sha256(part.read_bytes()).hexdigest()
    edit_record(copy_of_finished, parts=[each | {"sha256": digest} if each["key"] == key else each for each in parts])
    run = prefect.run("recheck/nightly", output=str(copy_of_finished), images=500)
    found = prefect.wait(run)
    assert found["state_type"] == "FAILED"
    assert found["state"]["message"] == f"1 of 60 images differ from what is published in {copy_of_finished}"
    worst = json.loads(prefect.artifacts(run)["recheck-rows"]["data"])[0]
    assert worst["path"] == table["path"].to_pylist()[3]
    assert worst["verdict"] == "different"


def test_a_check_says_how_good_results_are_and_fails_where_that_is_asked_for(
    prefect: PrefectKit, copy_of_finished: Path
) -> None:
    run = prefect.run("check/quality", output=str(copy_of_finished))
    found = prefect.wait(run)
    assert found["state_type"] == "COMPLETED", prefect.log(run)
    assert found["name"] == f"check of {copy_of_finished.name}"
    assert found["state"]["message"].startswith("the vote of 10 neighbours is right for ")
    artifacts = prefect.artifacts(run)
    assert {"quality", "worst-classes", "issues", "report", "neighbours-progress"} <= artifacts.keys()
    assert "| all features |" in artifacts["quality"]["data"]
    issues = {row["issue"]: row["images"] for row in json.loads(artifacts["issues"]["data"])}
    assert set(issues) == {"label", "outlier", "near duplicate", "exact duplicate", "class imbalance", "leakage"}
    quality = latest_quality(str(copy_of_finished), read_record(str(copy_of_finished)))
    assert quality is not None
    assert quality.accuracy is not None
    write_quality(str(copy_of_finished), replace(quality, accuracy=replace(quality.accuracy, vote=0.5)))
    again = prefect.run("check/quality", output=str(copy_of_finished), min_accuracy=0.9)
    refused = prefect.wait(again)
    assert refused["state_type"] == "FAILED"
    assert "the accuracy 50.00% is below the 90.00% asked for; worst classes: " in refused["state"]["message"]
    assert "were checked before" in prefect.artifacts(again)["quality"]["data"]


def test_new_photos_become_a_table_with_the_numbers_of_the_run(
    prefect: PrefectKit, finished: tuple[str, Path, str], few_photos: Path, tmp_path: Path
) -> None:
    target = tmp_path / "photos.parquet"
    run = prefect.run("transform/new-photos", photos=[str(few_photos)], model=str(finished[1]), file=str(target))
    found = prefect.wait(run)
    assert found["state"]["message"] == f"60 photos in {target}; 1 rejected", prefect.log(run)
    results = pd.read_parquet(finished[1] / read_record(str(finished[1])).results).set_index("path")["pcaFeatures"]
    rows = pd.read_parquet(target).set_index("path")["pcaFeatures"].dropna()
    assert len(rows) == 60
    assert all((rows[path] == results[path]).all() for path in rows.index)
    table = json.loads(prefect.artifacts(run)["transformed"]["data"])
    assert [(row["photos"], row["count"]) for row in table] == [("transformed", 60), ("truncated", 1)]
    missing = prefect.wait(prefect.run_unchecked("transform/new-photos"))
    assert missing["state"]["message"].startswith("the parameter photos is missing")
