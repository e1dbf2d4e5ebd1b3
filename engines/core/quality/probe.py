"""A linear probe: how well a linear classifier tells the classes from the numbers. scikit-learn's part.

It runs where the check was started, not on the workers; its last digits may differ between machines, so it decides
nothing in `issues.parquet`.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from engines.core.quality.votes import NO_LABEL, Int64

PROBE_ROWS = 8_192
"""Rows the probe is fitted to at most, chosen by hash."""

FOLDS = 5
_ITERATIONS = 100
_SEED = 0

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Probe:
    """`accuracy`: the share of right answers over `rows`, each given by a classifier that was not shown the row."""

    rows: int
    folds: int
    accuracy: float


def cross_validated(values: Float32, labels: Int64) -> Probe | None:
    """Stratified folds of logistic regression over the rows of classes with at least two rows; None for fewer than two.

    `values`: float32[n, d], which are standardized; `labels`: codes, int64[n].
    """
    from sklearn.model_selection import StratifiedKFold

    counts = np.bincount(labels[labels != NO_LABEL], minlength=1)
    used = (labels != NO_LABEL) & (counts[np.maximum(labels, 0)] >= 2)
    values, labels = values[used], labels[used]
    if len(np.unique(labels)) < 2:
        return None
    folds = min(FOLDS, int(np.bincount(labels)[np.unique(labels)].max()))

    def right(split: tuple[Int64, Int64]) -> int:
        train, test = split
        return _right(values[train], labels[train], values[test], labels[test])

    with _one_thread_each(), ThreadPoolExecutor(os.cpu_count()) as pool:
        splits = StratifiedKFold(folds, shuffle=True, random_state=_SEED).split(values, labels)
        rights = sum(pool.map(right, splits))
    return Probe(len(labels), folds, rights / len(labels))


def trained_on(values: Float32, labels: Int64, other_values: Float32, other_labels: Int64) -> Probe | None:
    """Fitted to the labelled `values`, asked about the labelled `other_values`; None where either has none to tell."""
    known, asked = labels != NO_LABEL, other_labels != NO_LABEL
    if len(np.unique(labels[known])) < 2 or not asked.any():
        return None
    with _one_thread_each():
        right = _right(values[known], labels[known], other_values[asked], other_labels[asked])
    return Probe(int(asked.sum()), 1, right / int(asked.sum()))


def _right(values: Float32, labels: Int64, other_values: Float32, other_labels: Int64) -> int:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    fitted = make_pipeline(StandardScaler(), LogisticRegression(max_iter=_ITERATIONS, tol=1e-3)).fit(values, labels)
    return int((fitted.predict(other_values) == other_labels).sum())


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """Classifiers have a thread each, whose BLAS starts no others: the same figures with any number of cores."""
    with warnings.catch_warnings(), threadpool_limits(limits=1):
        # Far enough for an accuracy; more steps would change weights, not answers.
        warnings.filterwarnings("ignore", message="lbfgs failed to converge")
        warnings.filterwarnings("ignore", message="The number of unique classes is greater than 50%")
        warnings.filterwarnings("ignore", message="The least populated class in y has only")
        yield
