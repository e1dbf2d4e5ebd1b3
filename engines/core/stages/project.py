"""Features of one shard to one part of the results: the workers' half of project."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import pyarrow as pa

from engines.core import tables
from engines.core.output import Part
from engines.core.reduce.pca import Pca, project
from engines.core.stages.featurize import read_features
from engines.core.storage import open_storage


@dataclass(frozen=True, slots=True)
class ProjectTask:
    """One shard to project into one part of the results. `network`, `pca`: what the part says of its rows."""

    output: str
    fingerprint: str
    shard: str
    key: str
    network: str
    pca: str


def project_shard(task: ProjectTask, pca: Pca) -> Part:
    """Project the features of one shard and write them as one part of the results (tables.RESULTS)."""
    table = read_features(task.output, task.fingerprint, task.shard)
    values = project(pca, tables.to_matrix(table["features"]))
    rows = tables.to_lists(values, tables.RESULTS.field(2).type)
    facts = tables.vector_facts(values.shape[1], task.network, task.fingerprint, task.pca)
    content = tables.to_parquet(pa.table([table["path"], table["label"], rows], schema=tables.RESULTS), facts)
    open_storage(task.output).write(task.key, content)
    return Part(task.key, table.num_rows, hashlib.sha256(content).hexdigest())


def read_part(output: str, key: str) -> Part:
    """The facts of a part that is already there."""
    content = open_storage(output).read(key)
    return Part(key, tables.from_parquet(content, ["path"]).num_rows, hashlib.sha256(content).hexdigest())
