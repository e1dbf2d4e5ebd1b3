"""Some rows with their values, on the driver: for the linear probe, and for the map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engines.core import tables
from engines.core.index.sharding import name_hash
from engines.core.layout import features_key
from engines.core.proof.reading import read_table
from engines.core.quality.plan import ALL_FEATURES, Plan
from engines.core.quality.probe import PROBE_ROWS, Probe, cross_validated, trained_on
from engines.core.reduce.kept import read_pca
from engines.core.reduce.pca import standardized
from engines.core.sources import open_source
from engines.core.storage import open_storage

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Sample:
    """Rows chosen by hash.

    `rows`: their numbers, int64[m]; `results`: float32[m, k]; `features`: standardized, float32[m, d].
    """

    rows: Int64
    results: Float32
    features: Float32

    def probe(self, components: int, labels: Int64) -> Probe | None:
        """The cross-validated linear probe in so many components. `labels`: codes of these rows."""
        return cross_validated(self._values(components), labels)

    def probe_between(self, training: str, other: str, splits: npt.NDArray[np.object_], labels: Int64) -> Probe | None:
        """The probe fitted to the part `training`, asked about `other`. `splits`, `labels`: of all published rows."""
        here, codes = splits[self.rows], labels[self.rows]
        fit, ask = here == training, here == other
        return trained_on(self.results[fit], codes[fit], self.results[ask], codes[ask])

    def _values(self, components: int) -> Float32:
        return self.features if components == ALL_FEATURES else self.results[:, :components]


def chosen_rows(plan: Plan, most: int) -> Int64:
    """The `most` published rows with the smallest hash of their path below the source, in the order of the results."""
    key = open_source(plan.record.source).key
    hashes = np.array([name_hash(key(path)) for path in plan.rows.paths], np.uint64)
    return np.sort(np.argsort(hashes, kind="stable")[:most])


def read_sample(plan: Plan, most: int = PROBE_ROWS, *, features: bool = True) -> Sample:
    """`most` rows, or all of fewer, from the output; without `features` where they are not needed."""
    storage = open_storage(plan.output)
    pca = read_pca(plan.output, plan.record.pca)
    rows = chosen_rows(plan, most)
    results, wide = [], [np.empty((0, len(pca.mean)), np.float32)]
    for part in plan.parts:
        wanted = rows[(rows >= part.first) & (rows < part.first + part.rows)] - part.first
        if not len(wanted):
            continue
        table = read_table(storage, part.key)
        results.append(tables.to_matrix(table["pcaFeatures"])[wanted])
        if features:
            table = read_table(storage, features_key(plan.record.model.fingerprint, part.shard))
            wide.append(standardized(pca, tables.to_matrix(table["features"])[wanted]))
    return Sample(rows, np.concatenate(results), np.concatenate(wide))
