"""Features of one shard to one part of the results: the workers' half of project."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from engines.core import tables
from engines.core.errors import DamagedError
from engines.core.index.catalog import Shard, read_shard_rows
from engines.core.layout import features_key
from engines.core.output import Part
from engines.core.proof.reading import damaged, read_proven, sealed_table, table_of
from engines.core.reduce.pca import Pca, project
from engines.core.stages.shard_files import of_shard, read_features
from engines.core.storage import open_storage


@dataclass(frozen=True, slots=True)
class ProjectTask:
    """One shard to project into one part of the results. `network`, `pca`: what the part says of its rows."""

    output: str
    fingerprint: str
    shard: Shard
    key: str
    network: str
    pca: str


def project_shard(task: ProjectTask, pca: Pca) -> Part | DamagedError:
    """Project the features of one shard and write them as one part of the results (tables.result_rows).

    What is said of a photo, its label first, is the catalog's: features are those of its pixels, whatever it is called.
    Returns a DamagedError for features that are not what was written, or of a photo that the catalog does not have.
    """
    try:
        table = read_features(task.output, task.fingerprint, task.shard.id)
        rows = read_shard_rows(task.output, task.shard)
        positions = pc.index_in(table["path"], rows["path"])
        if positions.null_count:
            with of_shard(task.shard.id):
                raise damaged(
                    open_storage(task.output),
                    features_key(task.fingerprint, task.shard.id),
                    "foreign",
                    "it is of photos that the catalog does not have",
                )
    except DamagedError as error:
        return error
    rows = rows.take(positions)
    schema = tables.result_rows(rows.schema)
    values = project(pca, tables.to_matrix(table["features"]))
    lists = tables.to_lists(values, schema.field("pcaFeatures").type)
    columns = {"path": table["path"], "label": rows["label"], "pcaFeatures": lists}
    if "split" in rows.column_names:
        columns["split"] = rows["split"]
    if "columns" in rows.column_names:
        kept = rows["columns"].combine_chunks()
        columns |= {name: kept.field(name) for name in kept.type.names}
    facts = tables.vector_facts(values.shape[1], task.network, task.fingerprint, task.pca)
    content = sealed_table(pa.table(columns, schema=schema), task.key, facts)
    open_storage(task.output).write(task.key, content)
    return Part(task.key, table.num_rows, hashlib.sha256(content).hexdigest())


def read_part(output: str, key: str, published: str = "") -> Part:
    """The facts of a part that is already there. `published`: the sha256 that a record says of it, if one does.

    Raises DamagedError.
    """
    storage = open_storage(output)
    proven = read_proven(storage, key)
    digest = hashlib.sha256(proven.content).hexdigest()
    if published and digest != published and not proven.sealed:
        raise damaged(storage, key, "corrupt", "its bytes are not those that were published")
    return Part(key, table_of(storage, key, proven.content).num_rows, digest)
