"""Whether two outputs hold the same: images, labels, features, PCA and results, and how far they are apart if not.

Both are read as streams of rows in the order of their keys, a few files at a time, so neither their size nor how each
was cut into shards matters. Keys are paths relative to the source: a copy of the source in another place is the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from engines.core import tables
from engines.core.compare.causes import Origin, causes, fitted_to
from engines.core.compare.pca import PcaComparison, compare_pca
from engines.core.compare.rows import Float32, Rows, RowsComparison, paired
from engines.core.errors import ContractError
from engines.core.index.catalog import Catalog, read_manifest
from engines.core.layout import features_key
from engines.core.networks.model import read_canary
from engines.core.output import RunRecord, read_record
from engines.core.proof.reading import read_table
from engines.core.reduce.kept import read_pca
from engines.core.reduce.pca import Pca
from engines.core.sources import open_source
from engines.core.storage import open_storage, read_ahead

FEATURE_TOLERANCE = 1e-4
"""Largest difference of a feature, which is in [0, 6]. LiteRT and Keras differ by 5e-5, other weights by over 0.1."""

RESULT_TOLERANCE = 1e-2
"""Largest difference of a projected value, in standard deviations of its component."""

Verdict = Literal["identical", "equal within tolerance", "different"]

_FILES_AHEAD = 3

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What `compare` found. `reasons` says why the verdict is `different`; it is empty otherwise. `causes`: what
    explains that the two are not identical, by what is known of both; empty if they are.

    `correlations`: of each component's values in both outputs, 1 for equal ones. `largest_deviation`: the largest
    difference of projected values, in standard deviations of their component, after the rotation that the difference
    of the features explains.
    """

    verdict: Verdict
    reasons: list[str]
    features: RowsComparison
    results: RowsComparison
    pca: PcaComparison | None
    correlations: list[float]
    largest_deviation: float
    causes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Everything, as plain data for JSON."""
        plain: dict[str, Any] = _finite(asdict(self))
        return plain


def _finite(value: Any) -> Any:
    """JSON knows no infinity and nothing that is not a number: null in their place."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


@dataclass(frozen=True, slots=True)
class _Output:
    """A published output, opened for comparison."""

    location: str
    record: RunRecord
    catalog: Catalog
    pca: Pca
    origin: Origin

    @classmethod
    def open(cls, location: str) -> _Output:
        record = read_record(location)
        catalog = read_manifest(location, record.catalog)
        pca = read_pca(location, record.pca)
        origin = Origin(record, pca, read_canary(location, record.model.fingerprint))
        return cls(location, record, catalog, pca, origin)

    def features(self) -> Iterator[Rows]:
        fingerprint = self.record.model.fingerprint
        return self._rows([features_key(fingerprint, shard.id) for shard in self.catalog.shards], "features")

    def results(self, described: list[str]) -> Iterator[Rows]:
        return self._rows([part.key for part in self.record.parts], "pcaFeatures", described)

    @property
    def described(self) -> list[str]:
        """The columns of the results that say something of the photos besides their label."""
        return (["split"] if self.catalog.labelling.has_splits else []) + self.catalog.columns

    def _rows(self, keys: list[str], column: str, described: list[str] | None = None) -> Iterator[Rows]:
        """The rows of these files, which are in the order of their images."""
        storage, source = open_storage(self.location), open_source(self.record.source)
        last = ""
        for table in read_ahead(lambda key: read_table(storage, key), keys, _FILES_AHEAD):
            if isinstance(table, Exception):
                raise table
            rows = Rows(
                [source.key(path) for path in table["path"].to_pylist()],
                table.select(["label", *described]).to_pylist() if described else table["label"].to_pylist(),
                tables.to_matrix(table[column]),
            )
            for key in rows.keys:
                if key <= last:
                    raise ContractError(
                        f"{self.location}: {key} is there twice, or not in order", "The output was changed: run again."
                    )
                last = key
            if column == "features":
                self._note_arithmetic(tables.metadata_of(table.schema))
            if rows.keys:
                yield rows

    def _note_arithmetic(self, counts: dict[str, Any]) -> None:
        if "canary" in counts:
            deviating = self.origin.deviating
            deviating[counts["canary"]] = deviating.get(counts["canary"], 0) + counts["featurized"]


def compare(location_a: str, location_b: str) -> Comparison:
    """Compare what is published at two locations.

    `identical`: the same images, labels, splits, columns, and bits of every feature, loading and result. `equal within
    tolerance`: the same images and what is said of them, features within FEATURE_TOLERANCE, and a PCA and results that
    differ by no more than the features explain (see `engines.core.compare.pca`) and RESULT_TOLERANCE. Raises InputError
    when nothing is published at one of them.
    """
    a, b = _Output.open(location_a), _Output.open(location_b)
    comparison = _compare(a, b)
    if comparison.verdict == "identical":
        return comparison
    return replace(comparison, causes=causes(a.origin, b.origin, comparison.features))


def _compare(a: _Output, b: _Output) -> Comparison:
    reasons = _other_recipe(a.record, b.record)
    noise = _FeatureNoise(a.pca, b.pca)
    features, results = RowsComparison(), RowsComparison()
    for left, right in paired(a.features(), b.features(), features):
        noise.add(left, right)
    reasons += _row_reasons("features", features)
    if features.largest_difference > FEATURE_TOLERANCE:
        reasons.append(f"features differ by up to {features.largest_difference:.2g}, allowed is {FEATURE_TOLERANCE:g}")
    if a.pca.components.shape != b.pca.components.shape:
        reasons.append(f"{len(a.pca.components)} components in A, {len(b.pca.components)} in B")
        return Comparison("different", reasons, features, results, None, [], float("inf"))
    pca, rotation = compare_pca(a.pca, b.pca, noise.per_component())
    reasons += pca.reasons
    if not pca.identical and fitted_to(a.record) != fitted_to(b.record):
        # The features do not explain this, and what they do explain is measured with both standardizations.
        reasons.append(f"other PCAs: {fitted_to(a.record)} in A, {fitted_to(b.record)} in B")
    statistics = _ResultStatistics(rotation, np.sqrt(a.pca.eigenvalues[: len(rotation)]))
    both = [name for name in a.described if name in b.described]
    if alone := sorted({*a.described, *b.described} - {*both}):
        reasons.append(f"results: one of them only has the columns {', '.join(alone)}")
    for left, right in paired(a.results(both), b.results(both), results):
        statistics.add(left, right)
    reasons += _row_reasons("results", results, both)
    deviations = statistics.deviations - np.array(pca.unexplained_by_rotation)
    if not (deviations <= RESULT_TOLERANCE).all():
        worst = int(deviations.argmax())
        reasons.append(
            f"results of component {worst + 1} differ by {statistics.deviations[worst]:.2g} standard deviations, "
            f"allowed is {RESULT_TOLERANCE:g}"
        )
    same_bits = features.differing_values == results.differing_values == 0 and pca.identical
    verdict: Verdict = "different" if reasons else "identical" if same_bits else "equal within tolerance"
    largest = float(statistics.deviations.max(initial=0.0))
    return Comparison(verdict, reasons, features, results, pca, statistics.correlations(), largest)


def _other_recipe(a: RunRecord, b: RunRecord) -> list[str]:
    """Weights and pixels must be the same; libraries and runtime may differ, their numbers are compared."""
    reasons = []
    for name, what in (
        ("architecture", "network"),
        ("weights_sha256", "weights"),
        ("preprocessing", "preprocessing"),
    ):
        in_a, in_b = a.model.recipe[name], b.model.recipe[name]
        if in_a != in_b:
            reasons.append(f"other {what}: {in_a[:40]} in A, {in_b[:40]} in B")
    return reasons


def _row_reasons(what: str, rows: RowsComparison, described: list[str] | None = None) -> list[str]:
    counts = {
        "images only in A": rows.only_in_a,
        "images only in B": rows.only_in_b,
        "other labels, splits or columns" if described else "other labels": rows.other_labels,
    }
    examples = f" (such as {json.dumps(rows.examples[0], ensure_ascii=False)})" if rows.examples else ""
    reasons = [f"{what}: {count:,} {name}{examples}" for name, count in counts.items() if count]
    if not np.isfinite(rows.largest_difference):
        reasons.append(f"{what}: there are values that are not numbers")
    return reasons


class _FeatureNoise:
    """How much the standardized features of both differ along the components of A: float64[k], root mean squares."""

    def __init__(self, a: Pca, b: Pca) -> None:
        self._a, self._b = a, b
        self._rows = 0
        self._squares = np.zeros(len(a.components))
        self._same_scale = np.array_equal(a.mean, b.mean) and np.array_equal(a.scale, b.scale)

    def add(self, left: Float32, right: Float32) -> None:
        """Take in rows of both."""
        self._rows += len(left)
        if not (self._same_scale and np.array_equal(left, right)):
            noise = (_standardized(self._b, right) - _standardized(self._a, left)) @ self._a.components.T
            self._squares += (noise**2).sum(axis=0)

    def per_component(self) -> Float64:
        """The root mean squares so far."""
        noise: Float64 = np.sqrt(self._squares / max(1, self._rows))
        return noise


def _standardized(pca: Pca, features: Float32) -> Float64:
    inverse = np.divide(1.0, pca.scale, out=np.zeros_like(pca.scale), where=pca.scale > 0)
    standardized: Float64 = (features - pca.mean) * inverse
    return standardized


class _ResultStatistics:
    """Deviation and correlation of each component's values, from a stream of rows of both."""

    def __init__(self, rotation: Float64, deviation: Float64) -> None:
        self._rotation = rotation
        self._unit = deviation.clip(min=np.finfo(np.float32).eps)
        self.deviations: Float64 = np.zeros(len(rotation))
        self._products: dict[str, Float64] = {name: np.zeros(len(rotation)) for name in ("ab", "aa", "bb")}

    def add(self, left: Float32, right: Float32) -> None:
        """Take in rows of both."""
        numbers = np.isfinite(left).all(axis=1) & np.isfinite(right).all(axis=1)
        a, b = left[numbers].astype(np.float64), right[numbers].astype(np.float64)
        difference = np.zeros_like(a) if np.array_equal(a, b) else np.abs(b - a @ self._rotation)
        self.deviations = np.maximum(self.deviations, (difference / self._unit).max(axis=0, initial=0.0))
        for name, product in (("ab", a * b), ("aa", a * a), ("bb", b * b)):
            self._products[name] += product.sum(axis=0)

    def correlations(self) -> list[float]:
        """Of each component. (Projected values have mean 0.)"""
        norm = np.sqrt(self._products["aa"] * self._products["bb"])
        return list(np.divide(self._products["ab"], norm, out=np.ones_like(norm), where=norm > 0).tolist())
