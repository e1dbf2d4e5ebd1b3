"""What a check finds of what was planted in 6,600 real photos: 2 % of the labels swapped, 50 photos there twice.

Takes minutes: `make test-accuracy`. Its small form is in tests/unit/test_quality.py.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from cleanlab.filter import find_label_issues

from engines.core.layout import check_folder, issues_key
from engines.core.networks.prepare import prepare_model
from engines.core.quality.found import read_nearest
from engines.core.quality.plan import make_plan
from flows.checks import cache_folder
from tests.planted import Found, flagged, plant, shares
from tests.published import check_run, publish_run


@pytest.mark.timeout(3000)
def test_swapped_labels_and_copies_are_found(real_photos: Path, real_weights: str, tmp_path: Path) -> None:
    model = prepare_model(real_weights, "litert", cache_folder())
    planted = plant(real_photos, tmp_path / "photos", swapped=0.02, copies=50, classes=33, per_class=1000)
    output = tmp_path / "output"
    publish_run(planted.source, output, model, components=128, shard_size=512)
    quality = check_run(output)
    issues = pq.read_table(output / issues_key(check_folder(quality.check)))
    labels = Found.of(flagged(issues, "label"), set(planted.swapped))
    copies = Found.of(flagged(issues, "exact_duplicate"), set(planted.copied) | set(planted.copied.values()))
    plan = make_plan(str(output))
    codes, votes = shares(issues["label"].to_pylist(), read_nearest(plan, plan.everything)[1].rows)
    theirs = find_label_issues(codes, votes, filter_by="confident_learning", n_jobs=1)
    cleanlab = Found.of(set(issues["path"].filter(theirs).to_pylist()), set(planted.swapped))
    print(f"labels: {labels}, cleanlab from the same votes: {cleanlab}, copies: {copies}")
    assert labels.precision >= 0.97
    assert labels.recall >= max(0.9, cleanlab.recall)
    assert (copies.precision, copies.recall) == (1.0, 1.0)
