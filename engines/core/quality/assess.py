"""All that a check says of published results, from the nearest rows that workers have found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from engines.core import tables
from engines.core.layout import check_folder, moments_key
from engines.core.neighbours import Nearest
from engines.core.quality import distances as by_distance
from engines.core.quality.drift import frechet_distance
from engines.core.quality.duplicates import Copies, find_copies
from engines.core.quality.figures import ISSUES, Quality, SpaceQuality, SplitQuality
from engines.core.quality.found import read_nearest
from engines.core.quality.plan import NEIGHBOURS, Plan
from engines.core.quality.sample import Sample, read_sample
from engines.core.quality.votes import (
    NO_LABEL,
    Codes,
    Votes,
    accuracy_of,
    class_accuracies,
    confusions,
    label_issues,
)
from engines.core.reduce.kept import read_moments, read_pca

Int64 = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Assessment:
    """`issues`: a row per photo, in the order of the results (tables.ISSUES), the same bits on every engine and CPU."""

    issues: pa.Table
    quality: Quality


def assess(plan: Plan) -> Assessment:
    """Read what workers found by `plan`, and say what it means. Memory: some 500 bytes a row, besides the paths."""
    codes = Codes.number(plan.rows.labels)
    _, nearest = read_nearest(plan, plan.everything)
    votes = Votes.of(codes.of, codes.of[nearest.rows])
    radius = by_distance.near_duplicate_radius(nearest.distances[:, 0])
    close = by_distance.close_pairs(nearest.rows, nearest.distances, radius)
    copies = find_copies(
        plan.rows, plan.record.source, by_distance.close_pairs(nearest.rows, nearest.distances, radius=0.0)
    )
    leaks = _leaks(plan, radius)
    near_groups = by_distance.groups(close, len(plan.rows.paths))
    issues = _issues(plan, codes, votes, nearest, radius, near_groups, copies, leaks)
    sample = read_sample(plan)
    quality = Quality(
        check=plan.version,
        results=plan.record.results,
        rows=len(plan.rows.paths),
        labelled=int((codes.of != NO_LABEL).sum()),
        components=plan.record.components,
        neighbours=NEIGHBOURS,
        accuracy=accuracy_of(votes),
        classes=tuple(class_accuracies(votes, codes.names)),
        confusions=tuple(confusions(votes, codes)),
        spaces=tuple(_spaces(plan, codes, votes, sample)),
        issues={name: int(np.count_nonzero(issues[f"is_{name}_issue"])) for name in ISSUES},
        groups={
            "near_duplicate": int(near_groups.max(initial=-1)) + 1,
            "exact_duplicate": int(copies.group.max(initial=-1)) + 1,
        },
        near_duplicate_radius=radius,
        unread=copies.unread,
        training=plan.training,
        splits=tuple(_splits(plan, codes, leaks, sample)),
        facts={},
    )
    return Assessment(issues, quality)


@dataclass(frozen=True, eq=False)
class _Leaks:
    """The nearest training rows of all others. `asked`: their rows; the others are per row of the results."""

    asked: Int64
    nearest: Nearest
    is_issue: Bools
    score: npt.NDArray[np.float64]
    of: Int64


def _leaks(plan: Plan, radius: float) -> _Leaks | None:
    if plan.to_training is None:
        return None
    asked, nearest = read_nearest(plan, plan.to_training)
    count = len(plan.rows.paths)
    distance = nearest.distances[:, 0]
    is_issue, score, of = np.zeros(count, bool), np.ones(count), np.full(count, -1, np.int64)
    is_issue[asked] = (distance < radius) | (distance == 0.0)
    score[asked] = distance / (distance + radius) if radius else distance > 0
    of[asked] = np.where(is_issue[asked], nearest.rows[:, 0], -1)
    return _Leaks(asked, nearest, is_issue, score, of)


def _issues(
    plan: Plan,
    codes: Codes,
    votes: Votes,
    nearest: Nearest,
    radius: float,
    near_groups: Int64,
    copies: Copies,
    leaks: _Leaks | None,
) -> pa.Table:
    rows = plan.rows
    count = len(rows.paths)
    labels = label_issues(votes, len(codes.names))
    outliers = by_distance.outliers(nearest.distances)
    near = by_distance.near_duplicates(nearest.distances, radius)
    rare = by_distance.imbalanced(codes.of, len(codes.names))
    copied = copies.group != by_distance.NO_GROUP
    columns = {
        "path": rows.paths,
        "label": rows.labels,
        "split": rows.splits,
        "predicted_label": [codes.name(int(code)) for code in labels.predicted],
        "is_label_issue": labels.is_issue,
        "label_score": labels.score,
        "is_outlier_issue": outliers.is_issue,
        "outlier_score": outliers.score,
        "is_near_duplicate_issue": near.is_issue,
        "near_duplicate_score": near.score,
        "is_exact_duplicate_issue": copied,
        "exact_duplicate_score": np.where(copied, 0.0, 1.0),
        "is_class_imbalance_issue": rare.is_issue,
        "class_imbalance_score": rare.score,
        "is_leakage_issue": leaks.is_issue if leaks else np.zeros(count, bool),
        "leakage_score": leaks.score if leaks else np.ones(count),
        "nearest": [rows.paths[row] for row in nearest.rows[:, 0]],
        "nearest_distance": nearest.distances[:, 0],
        "near_duplicate_group": near_groups,
        "exact_duplicate_group": copies.group,
        "leakage_nearest": [rows.paths[row] if row >= 0 else "" for row in (leaks.of if leaks else [-1] * count)],
    }
    return pa.table([columns[name] for name in tables.ISSUES.names], schema=tables.ISSUES)


def _spaces(plan: Plan, codes: Codes, votes: Votes, sample: Sample) -> list[SpaceQuality]:
    """The spaces in rising order of components, the published one among them, all features last."""
    labels = codes.of[sample.rows]
    found = [SpaceQuality(plan.record.components, accuracy_of(votes), sample.probe(plan.record.components, labels))]
    for space in plan.compared:
        asked, nearest = read_nearest(plan, space)
        accuracy = accuracy_of(Votes.of(codes.of[asked], codes.of[nearest.rows]))
        found.append(SpaceQuality(space.components, accuracy, sample.probe(space.components, labels)))
    return sorted(found, key=lambda each: (each.components == 0, each.components))


def _splits(plan: Plan, codes: Codes, leaks: _Leaks | None, sample: Sample) -> list[SplitQuality]:
    """Each part held against the training part."""
    if leaks is None or plan.training is None:
        return []
    moments = read_moments(plan.output, moments_key(check_folder(plan.version)))
    scale = read_pca(plan.output, plan.record.pca).scale
    splits = np.array(plan.rows.splits, dtype=object)
    found = []
    for split in sorted(set(plan.rows.splits) - {"", plan.training}):
        here = splits[leaks.asked] == split
        own, neighbours = codes.of[leaks.asked[here]], codes.of[leaks.nearest.rows[here]]
        found.append(
            SplitQuality(
                split,
                int(here.sum()),
                int(leaks.is_issue[leaks.asked[here]].sum()),
                accuracy_of(Votes.of(own, neighbours)),
                sample.probe_between(plan.training, split, splits, codes.of),
                frechet_distance(moments[plan.training], moments[split], scale),
            )
        )
    return found
